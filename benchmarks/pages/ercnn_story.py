"""The page before the tables of docs/er-cnn.md, and its picture, from the records."""

import statistics
from pathlib import Path
from typing import Any

from ercnn_scatter import plot_reading
from record_tables import load

Record = dict[str, Any]
Pages = dict[Path, str]
PRIORS = {
    "held-out": "other photos of the same source",
    "none": "no photos",
    "cifar10": "CIFAR-10's photos",
    "camvid": "CamVid's photos",
}
LABELS_ALONE = {
    "rounds": "round {rounds}",
    "one-long-round": "one long round",
    "frozen-backbone": "frozen backbone",
}
HOPED = """## What the document hoped, and what became of it

**It hoped** that one small network does two things. In front of a pretrained CNN it learns, from labels alone, to undo the cipher. Then the CNN classifies encrypted images as it does plain ones, and the network's output is the decrypted picture. It reports 94.28 % without that network and 96.04 to 96.72 % with it at 224x224 (*published*), and pictures in which its authors recognise objects. They admit that a pretrained CNN may have seen the photos before, and try two approaches that keep pretraining and encrypted classes apart.
"""  # noqa: E501


def tell() -> tuple[str, Pages]:
    """The story in four parts, and its picture; nothing where the records are missing."""
    names = ("front-end-imagenette-8x8", "ercnn-multi-round-cpu", "ercnn-models-224-cpu")
    records = [load(f"{name}.json") for name in names]
    if any(record is None for record in records):
        return "", {}
    read, alone, models = (record["results"] for record in records if record is not None)
    sealed = find_accuracy(models, "sealed")
    plain = find_plain(models)
    points = list_points(read)
    story = "\n".join(
        [
            HOPED,
            tell_labels_alone(alone, models, plain, sealed),
            tell_ciphertexts_alone(read, points, plain),
            "![Accuracy against similarity of the front end's pictures](pictures/ercnn-reading.svg)\n",
            CONSEQUENCE,
        ]
    )
    return story, plot(points, list_labels_alone(alone), plain, sealed)


CONSEQUENCE = """**For the data owner**: *who can learn from it can read it.* Whoever trains on these ciphertexts has enough of them for the attack, and what it finds also makes the training better. That labels alone did not find the map protects nothing. A Hill cipher with one key for all images keeps its pictures from nobody who has some hundred of them. So the report's accuracy and secrecy cannot both be had. A key for each image stops this attack ([what leaks](questions/leaks.md)); a locked model needs the key where it answers ([locked models](locked-models.md)).
"""  # noqa: E501


def find_accuracy(models: Record, images: str) -> float:
    rows = models["rows"]
    wanted = {"model": "tf_efficientnet_lite0", "images": images}
    return next(float(row["mean"]) for row in rows if row["axes"] == wanted)


def find_plain(models: Record) -> list[float]:
    """Accuracies on plain images under the same budget: a record of several seeds, else the study's own."""
    record = load("front-end-imagenette-8x8-plain.json")
    return [find_accuracy(models, "plain")] if record is None else record["results"]["plain"]["trained"]


def list_points(read: Record) -> list[Record]:
    """Rows of front ends that were trained from a map: prior, key, SSIM and accuracy."""
    rows = list(read["rows"])
    for name in ("cifar10", "camvid"):
        record = load(f"front-end-imagenette-8x8-{name}.json")
        rows += [] if record is None else record["results"]["rows"]
    return [row for row in rows if "trained" in row]


def list_labels_alone(alone: Record) -> list[tuple[str, float, float]]:
    """Name, SSIM and accuracy of the adaptation networks that started from random numbers."""
    found = []
    for run, words in LABELS_ALONE.items():
        label = words.format(rounds=alone["train"]["rounds"])
        scores = [row["ssim"] for row in alone["rows"] if row["name"] == f"adaptation, {label}"]
        ends = [facts["last"] for name, facts in alone["runs"].items() if name.startswith(run)]
        found.append((label, statistics.mean(scores), statistics.mean(ends)))
    return found


def tell_labels_alone(alone: Record, models: Record, plain: list[float], sealed: float) -> str:
    words = "\n".join(f"- {name}: {last:.1%}, SSIM {ssim:.3f}" for name, ssim, last in list_labels_alone(alone))
    guess = alone["rows"][0]["guess_ssim"]
    epochs = alone["train"]["epochs"] * alone["train"]["rounds"]
    return (
        "**Labels alone** do neither here. EfficientNet-Lite0 with its ImageNet weights was trained on "
        f"{models['images']['train']:,} imagenette photos for {models['base']['epochs']} epochs. It reaches "
        f"{show(plain)} on plain images and {sealed:.1%} on those under Hill 8x8. With an adaptation network that "
        f"starts from random numbers, {epochs} epochs give:\n\n{words}\n- guessing: SSIM {guess:.3f}\n\n"
        "It gains no accuracy, and no picture is in its output. Whitened blocks, a learning rate of its own and a "
        "frozen backbone do not change that ([labels alone](questions/accuracy.md#reading-first)).\n"
    )


def tell_ciphertexts_alone(read: Record, points: list[Record], plain: list[float]) -> str:
    words = []
    for prior, name in PRIORS.items():
        mine = [row for row in points if row["prior"] == prior]
        if mine:
            ssim = statistics.mean(row["ssim_trained"] for row in mine)
            words.append(f"- {show([row['trained'] for row in mine])}, SSIM {ssim:.3f} with {name}")
    best = max(found["as_it_is"][0] for found in read["summary"].values())
    seconds, newline = max(row["seconds"] for row in read["rows"]), "\n"
    return (
        "**Ciphertexts alone** do both. The `covariance` attack finds the map that the network should learn, "
        f"from some hundred ciphertexts, without key or label, within {seconds:.0f} s. Started from it, under the "
        f"same budget:\n\n{newline.join(words)}\n- plain images: {show(plain)}\n\n"
        "Untrained, the published network "
        f"recognises {best:.1%} of the encrypted photos among ten classes, and {read['plain']['as_it_is']:.1%} of "
        "the plain ones. No backbone takes part in finding the map, so no memory of one is in these pictures. In "
        "the accuracies it may be: imagenette's photos come from ImageNet.\n"
    )


def show(values: list[float]) -> str:
    spread = "" if len(values) == 1 else f" ({min(values):.1%} to {max(values):.1%})"
    return f"{statistics.mean(values):.1%}{spread}"


def plot(points: list[Record], alone: list[tuple[str, float, float]], plain: list[float], sealed: float) -> Pages:
    read: dict[str, list[tuple[float, float]]] = {words: [] for words in PRIORS.values()}
    for row in points:
        read[PRIORS[row["prior"]]].append((row["ssim_trained"], row["trained"]))
    learnt = {f"labels alone, {name}": [(ssim, accuracy)] for name, ssim, accuracy in alone}
    return plot_reading(read, learnt, {"plain images": statistics.mean(plain), "encrypted": sealed})
