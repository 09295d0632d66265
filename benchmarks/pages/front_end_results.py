"""Front ends in docs/questions/accuracy.md: adaptation networks that start from what an attack finds."""

import json
from pathlib import Path
from typing import Any

from record_tables import hardware, load, table

ROOT = Path(__file__).parents[2]
PRIORS = {
    "held-out": "other photos of the same source",
    "none": "no photos",
    "random": "whitened, turned at random",
    "whitened": "whitened",
}


def show(values: list[float] | None, form: str) -> str:
    """Mean, with least and greatest where there were several keys."""
    if values is None:
        return ""
    mean, least, greatest = (format(value, form) for value in values)
    return mean if least == greatest else f"{mean} ({least} to {greatest})"


def spread(values: list[float]) -> list[float]:
    """Mean, least and greatest."""
    return [sum(values) / len(values), min(values), max(values)]


def list_sections() -> list[str]:
    """A table for each record of read_first.py in benchmarks/measure/, of several owners, and of labels."""
    paths = sorted((ROOT / "results").glob("front-end-*.json"))
    parts = [describe(json.loads(path.read_text())) for path in paths]
    return [part for part in (*parts, describe_owners(), describe_labels_alone()) if part]


def match() -> str:
    """What `batchnorm-match` gains and loses from each start."""
    records = [load(f"front-end-{name}-match.json") for name in ("cifar10-4x4", "imagenette-8x8")]
    return "\n".join(describe(record) for record in records if record is not None)


def name_prior(prior: str) -> str:
    """A prior, or another start, in words."""
    return PRIORS.get(prior, f"photos of {prior}")


def describe(record: dict[str, Any]) -> str:
    r = record["results"]
    names = ("prior", "keys", "SSIM of pictures", "after `batchnorm-match`", "after training")
    header = [*names, "the network as it is", "categories recognised", "trained", "seconds to find the map"]
    header += ["seconds to train", "images a second"]
    rows = [
        [
            name_prior(prior),
            str(sum(row["prior"] == prior for row in r["rows"])),
            show(found.get("ssim"), ".3f"),
            show(found.get("ssim_matched"), ".3f"),
            show(found.get("ssim_trained"), ".3f"),
            show(found.get("as_it_is"), ".1%"),
            show(found.get("categories"), ".0f"),
            show(found.get("trained"), ".1%"),
            show(found.get("seconds"), ".0f"),
            show(found.get("seconds_trained"), ",.0f"),
            show(found.get("images_per_second"), ",.0f"),
        ]
        for prior, found in r["summary"].items()
    ]
    plain = r["plain"]
    if plain:
        once = f"{plain['as_it_is']:.1%}" if "as_it_is" in plain else ""
        figures = (
            show(spread(plain[figure]) if figure in plain else None, form)
            for figure, form in (("trained", ".1%"), ("seconds_trained", ",.0f"), ("images_per_second", ",.0f"))
        )
        accuracy, *costs = figures
        rows.append(["*plain images*", *[""] * 4, once, "", accuracy, "", *costs])
    used = [column for column in range(len(header)) if any(row[column] for row in rows)]
    header, rows = [header[column] for column in used], [[row[column] for column in used] for row in rows]
    cipher, images = r["cipher"], r["images"]
    settings = f" Training: {json.dumps(r['training'])}." if r["training"] else ""
    network = record["command"].partition("--match ")[2].partition(" ")[0]
    settings += f" The network of `batchnorm-match`: {network}." if network else ""
    settings += f" {r['remark']}" if "remark" in r else ""
    settings += " The classifier keeps its authors' rows of the classes." if r.get("own_classes") else ""
    priors = ", ".join(map(name_prior, r["summary"])) or "plain images only"
    return (
        f"### {r['source']}, {cipher['name']} {cipher['block']}x{cipher['block']}, {r['model']}; {priors}\n\n"
        f"{table(header, rows)}\n\n{images['train']:,} training and {images['test']:,} test images; SSIM over "
        f"{r['scored_pictures']} of them.{settings}\n\n{hardware(record)}\n"
    )


def describe_owners() -> str:
    """Several owners, one model (benchmarks/measure/owners.py)."""
    record = load("owners-cifar10.json")
    if record is None:
        return ""
    r = record["results"]
    schemes = [" ".join(str(part) for part in scheme.values()) for scheme in r["schemes"]]
    rows = [
        [f"owner {number}, {scheme}", show(spread(accuracies), ".1%")]
        for number, (scheme, *accuracies) in enumerate(zip(schemes, *r["accuracies"], strict=False), start=1)
    ]
    joined = r["joined"]
    rows.append(
        [f"one more owner, {schemes[-1]}, joined in {joined['seconds']:.0f} s", f"{joined['accuracy']:.1%}"]
    )
    rows.append(["*one plain model on all their images*", show(spread(r["plain"]), ".1%")])
    return (
        f"### Several owners, one model\n\n{table(['images', 'test accuracy'], rows)}\n\n{r['source']}, "
        f"{r['images_each']:,} training images of each owner, no two the same, {r['test_images']:,} test images; "
        f"the prior: other photos of the source. Seeds: {len(r['seeds'])} (mean, least and greatest). "
        f"Training: {json.dumps(r['training'])}.\n\n"
        f"{hardware(record)}\n"
    )


def describe_labels_alone() -> str:
    """Starts and learning rates without any prior (benchmarks/measure/labels_alone.py)."""
    record = load("labels-alone-cifar10.json")
    if record is None:
        return ""
    r = record["results"]
    rows = [
        [
            row["backbone"],
            row.get("start", "*plain images*"),
            f"{row['accuracy']:.1%}",
            f"{row['ssim']:.3f} ({row['guess_ssim']:.3f})" if "ssim" in row else "",
        ]
        for row in r["rows"]
    ]
    header = ["backbone", "start", "test accuracy", "SSIM of pictures (guessing)"]
    settings = {name: cell for name, cell in r["cells"].items() if cell}
    return (
        f"### Labels alone: how far training takes an adaptation network\n\n{table(header, rows)}\n\n"
        f"{r['source']}, {r['cipher']['name']} {r['cipher']['block']}x{r['cipher']['block']}, "
        f"{r['images']['train']:,} training and {r['images']['test']:,} test images. SSIM after "
        f"the best affine fit per channel, over "
        f"{r['scored_pictures']} images. *ciphertexts*: the map that `covariance` finds without photos. "
        f"*pretrained*: the backbone was trained on plain images of other classes, and is frozen for "
        f"{r['frozen_first']['warm_up']} epochs first. One seed. {r.get('remark', '')} "
        f"Training: {json.dumps(r['training'])}; settings: "
        f"{json.dumps(settings)}.\n\n{hardware(record)}\n"
    )
