"""Locked runs as a provider and a client meet them: training, access control, masks, pictures, experiments."""

import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from safetensors.torch import load_file  # noqa: E402

import cipherlens as cl  # noqa: E402
from cipherlens.ciphers import create_cipher  # noqa: E402
from cipherlens.cli.main import execute  # noqa: E402
from cipherlens.data.sealed.dataset import SealedDataset  # noqa: E402
from cipherlens.data.sealed.seal import seal  # noqa: E402
from cipherlens.errors import DataError, KeyFailureError, UsageError  # noqa: E402
from cipherlens.keys import Key  # noqa: E402
from cipherlens.models import create_model  # noqa: E402
from cipherlens.training import (  # noqa: E402
    TrainConfig,
    evaluate,
    fit,
    load_run,
)
from cipherlens.training.engine.loop import count_confusion, cross_entropy  # noqa: E402

SOURCE = "synthetic:tiny?n=60&test=40&size=16"
MASKS = "synthetic:tiny?n=24&test=12&size=16&masks=1"
CONFIG = TrainConfig(model="preresnet20", epochs=2, batch_size=20, precision="float32", lr=0.02, threads=1)


@pytest.fixture(scope="module")
def key():
    return Key(bytes(range(32)))


def seal_both(source, root, key):
    """The same images, readable and shuffled."""
    for name in ("identity", "pixel-permutation"):
        seal(source, root / name, create_cipher(name), key)
    return [SealedDataset.open(root / name) for name in ("identity", "pixel-permutation")]


@pytest.fixture(scope="module")
def data(tmp_path_factory, key):
    return seal_both(SOURCE, tmp_path_factory.mktemp("data"), key)


@pytest.fixture(scope="module")
def place(data, key, tmp_path_factory):
    """A folder with a plain run, the run locked by the command, and keys."""
    root = tmp_path_factory.mktemp("runs")
    fit(CONFIG, data[0].split("train"), data[0].split("test"), root / "plain", data[0].spec.to_json())
    key.save(root / "client.key")
    Key(bytes(range(1, 33))).save(root / "wrong.key")  # a random one may hardly change the loss
    code = execute(["lock", str(root / "plain"), "--key", str(root / "client.key"), "--out", str(root / "locked")])
    assert code == 0
    return root


def train_locked(dataset, out, key, inner="shuffled", config=CONFIG):
    options = {**config.to_json(), "lock": inner}
    train, test = dataset.split("train"), dataset.split("test")
    return fit(TrainConfig(**options), train, test, out, dataset.spec.to_json(), bound=dataset.spec.bind(key))


@pytest.mark.parametrize("inner", ["shuffled", "plain"])
def test_locked_training_is_plain_training_step_by_step(data, place, key, tmp_path, inner):
    result = train_locked(data[1], tmp_path / "run", key, inner)
    expected, found = load_file(place / "plain" / "last.safetensors"), load_file(result.out / "last.safetensors")
    assert list(expected) == list(found)  # no table, no other name
    start = create_model("preresnet20", 10, image_size=(16, 16)).state_dict()
    for name, tensor in expected.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(found[name], tensor, rtol=2e-3, atol=2e-4)
    moved = max(float((expected[name] - start[name]).abs().max()) for name in start if name.endswith("weight"))
    assert moved > 0.05  # six steps did something
    lines = [json.loads(line) for line in (result.out / "metrics.jsonl").read_text().splitlines()]
    plain = [json.loads(line) for line in (place / "plain" / "metrics.jsonl").read_text().splitlines()]
    assert [a["train_loss"] for a in lines] == pytest.approx([b["train_loss"] for b in plain], rel=1e-4)


def test_training_on_shuffled_images_without_the_key_is_another_training(data, place, tmp_path):
    train, test = data[1].split("train"), data[1].split("test")
    result = fit(CONFIG, train, test, tmp_path / "run", data[1].spec.to_json())
    expected, found = load_file(place / "plain" / "last.safetensors"), load_file(result.out / "last.safetensors")
    assert float((expected["conv1.weight"] - found["conv1.weight"]).abs().max()) > 0.01


def test_locked_run_gives_the_plain_accuracy_and_refuses_other_keys(call, data, place):
    sealed = data[1].root
    _, out, _ = call("test", place / "plain", data[0].root, "--json")
    plain = json.loads(out)
    code, out, _ = call("test", place / "locked", sealed, "--key", place / "client.key", "--json")
    locked = json.loads(out)
    assert code == 0
    assert (locked["accuracy"], locked["n"]) == (plain["accuracy"], 40)
    assert locked["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    assert call("test", place / "locked", sealed)[0] == 3
    code, _, err = call("test", place / "locked", sealed, "--key", place / "wrong.key")
    assert (code, "wrong key" in err) == (3, True)
    for arguments in (["--key", place / "wrong.key"], []):
        code, out, _ = call("test", place / "locked", sealed, *arguments, "--measure-wrong-key", "--json")
        assert code == 0
        assert abs(json.loads(out)["loss"] - plain["loss"]) > 1e-3


def test_who_uses_a_locked_run_can_read_its_key(call, data, place):
    attack = ("attack", "locked-model", data[1].root, "--plain", SOURCE, "--json")
    code, out, err = call(*attack, "--run", place / "locked", "--key", place / "client.key")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["threat_model"], facts["budget"], facts["exact_pixels"]) == ("model", 1, 1.0)
    assert facts["details"]["key_recovered"]
    assert call(*attack, "--run", place / "locked")[0] == 2  # nobody can use it without the key
    assert call(*attack, "--run", place / "locked", "--key", place / "wrong.key")[0] == 3
    code, _, err = call(*attack, "--run", place / "plain", "--key", place / "client.key")
    assert (code, "sealed with" in err) == (3, True)


def test_locked_run_names_the_fingerprint_and_holds_no_key(call, place, key):
    code, out, _ = call("inspect", place / "locked", "--json")
    facts = json.loads(out)
    assert (code, facts["locked"], facts["key_fingerprint"]) == (0, "shuffled", key.fingerprint)
    assert facts["cipher"] == "pixel-permutation"
    order = create_cipher("pixel-permutation").bind(key, (3, 16, 16)).order
    for path in (p for p in (place / "locked").rglob("*") if p.is_file()):
        content = path.read_bytes()
        assert key.to_bytes() not in content
        assert order[:16].tobytes() not in content
    assert (place / "locked" / "last.safetensors").read_bytes() == (
        place / "plain" / "last.safetensors"
    ).read_bytes()


def test_relocking_changes_the_key(call, data, place, tmp_path):
    out = tmp_path / "again"
    assert call("lock", place / "locked", "--key", place / "wrong.key", "--out", out)[0] == 0
    assert call("test", out, data[1].root, "--key", place / "wrong.key")[0] == 3  # sealed with the old key
    assert call("lock", place / "locked", "--key", place / "wrong.key", "--out", out)[0] == 2


def test_what_cannot_be_locked_is_refused(call, data, place, key, tmp_path):
    train, test = data[1].split("train"), data[1].split("test")
    fit(CONFIG, train, test, tmp_path / "shuffled", data[1].spec.to_json())
    code, _, err = call("lock", tmp_path / "shuffled", "--key", place / "client.key", "--out", tmp_path / "x")
    assert (code, "does not know plain ones" in err) == (2, True)
    assert not (tmp_path / "x").exists()
    code, _, err = call("train", data[0].root, "--key", place / "client.key", "--out", tmp_path / "y")
    assert (code, "pixel-permutation" in err) == (2, True)
    with pytest.raises(UsageError, match="locked model is trained with"):
        fit(TrainConfig(model="preresnet20", lock="plain"), train, test, tmp_path / "z")
    with pytest.raises(KeyFailureError):
        load_run(place / "locked")


def test_predict_with_the_key_says_what_the_plain_run_says(call, place, tmp_path):
    assert call("decrypt", place.parent / "none", tmp_path / "x", "--key", place / "client.key")[0] == 4
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    _, plain, _ = call("predict", place / "plain", tmp_path / "a.png", "--json")
    arguments = ("--key", place / "client.key", "--feature-maps", tmp_path / "maps", "--json")
    code, locked, _ = call("predict", place / "locked", tmp_path / "a.png", *arguments)
    assert code == 0
    expected, found = (next(iter(json.loads(out)["predictions"].values())) for out in (plain, locked))
    assert found == pytest.approx(expected, abs=1e-3)
    pictures = sorted((tmp_path / "maps").iterdir())
    assert len(pictures) == len(json.loads(locked)["feature_maps"]) == 21
    first = np.asarray(Image.open(pictures[0]))
    above, below = np.split(first.astype(float), 2)
    assert np.abs(above - below).mean() > 10  # what is stored is not what it holds
    assert call("predict", place / "plain", tmp_path / "a.png", "--feature-maps", tmp_path / "m")[0] == 2


@pytest.fixture(scope="module")
def masked(tmp_path_factory, key):
    return seal_both(MASKS, tmp_path_factory.mktemp("masked"), key)


def test_masks_are_shuffled_like_their_images_and_come_back(call, masked, place, key, tmp_path):
    plain, shuffled = (dataset.split("test") for dataset in masked)
    bound = create_cipher("pixel-permutation").bind(key, (1, 16, 16))
    assert (bound.encrypt(plain.masks[:, None])[:, 0] == shuffled.masks).all()
    assert (plain.masks != shuffled.masks).any()
    assert len(np.unique(plain.masks)) > 3
    assert call("decrypt", masked[1].root, tmp_path / "back", "--key", place / "client.key")[0] == 0
    back = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "back" / "test" / "masks").iterdir())]
    assert (np.stack(back) == plain.masks).all()
    code, _, err = call("encrypt", MASKS, tmp_path / "hill", "--key", place / "client.key")
    assert (code, "masks cannot be sealed with hill" in err) == (2, True)


def test_segmentation_locked_equals_plain_and_fails_without_the_key(call, masked, place, key, tmp_path):
    config = TrainConfig(
        model="unet-small", epochs=2, batch_size=8, precision="float32", optimizer="adamw", threads=1
    )
    plain, shuffled = masked
    fit(config, plain.split("train"), plain.split("test"), tmp_path / "plain", plain.spec.to_json())
    locked = train_locked(shuffled, tmp_path / "locked", key, config=config)
    first = evaluate(load_run(tmp_path / "plain", "last"), plain.split("test"))
    second = evaluate(load_run(locked.out, "last", shuffled.spec.bind(key)), shuffled.split("test"))
    assert second["mean_iou"] == pytest.approx(first["mean_iou"], abs=0.02)
    assert second["loss"] == pytest.approx(first["loss"], rel=0.02)
    assert locked.last.test_iou == pytest.approx(second["mean_iou"])
    call("lock", tmp_path / "plain", "--key", place / "client.key", "--out", tmp_path / "relocked")
    exact = evaluate(load_run(tmp_path / "relocked", "last", shuffled.spec.bind(key)), shuffled.split("test"))
    assert exact["mean_iou"] == pytest.approx(first["mean_iou"], abs=1e-6)
    wrong = shuffled.spec.bind(Key(bytes(32)), check=False)
    without = evaluate(load_run(tmp_path / "relocked", "last", wrong), shuffled.split("test"))
    assert abs(without["loss"] - first["loss"]) > 0.01  # hardly trained, so a wrong key changes little
    code, _, err = call("lock", tmp_path / "plain", "--key", place / "client.key", "--inner", "plain", "--out", "n")
    assert (code, "inner shuffled" in err) == (2, True)


def test_predicted_masks_come_out_in_true_order(call, masked, place, tmp_path):
    config = TrainConfig(model="unet-small", epochs=1, batch_size=8, precision="float32", threads=1)
    plain = masked[0]
    fit(config, plain.split("train"), plain.split("test"), tmp_path / "plain", plain.spec.to_json())
    call("lock", tmp_path / "plain", "--key", place / "client.key", "--out", tmp_path / "locked")
    image = plain.split("test").read(np.array([0]))[0]
    Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "a.png")
    for run, arguments in (("plain", ()), ("locked", ("--key", place / "client.key"))):
        code, _, err = call(
            "predict", tmp_path / run, tmp_path / "a.png", *arguments, "--masks", tmp_path / f"m-{run}"
        )
        assert code == 0, err
    first, second = (np.asarray(Image.open(tmp_path / f"m-{run}" / "a.png")) for run in ("plain", "locked"))
    assert (first == second).all()
    assert len(np.unique(first)) > 1


def test_models_and_data_of_different_kinds_are_refused(data, masked, tmp_path):
    with pytest.raises(UsageError, match="masks"):
        fit(CONFIG, masked[0].split("train"), None, tmp_path / "a")
    with pytest.raises(UsageError, match="no masks"):
        fit(TrainConfig(model="unet-small"), data[0].split("train"), None, tmp_path / "b")


def test_ignored_pixels_count_nowhere():
    logits = torch.randn(2, 3, 4, 4)
    targets = torch.randint(0, 3, (2, 4, 4))
    targets[:, :2] = 255
    seen = logits[:, :, 2:], targets[:, 2:]
    assert float(cross_entropy(logits, targets)) == pytest.approx(float(cross_entropy(*seen)), rel=1e-6)
    confusion = count_confusion(logits, targets, 3)
    assert int(confusion.sum()) == 16
    assert int(confusion.trace()) == int((seen[0].argmax(1) == seen[1]).sum())
    labels = torch.tensor([255, 3])  # a class, not a hole
    assert int(count_confusion(torch.randn(2, 300), labels, 300).sum()) == 2


def test_the_smoke_experiments_run_and_write_a_record(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "synthetic:tiny?n=40&test=20"
    code, out, err = call("reproduce", "privdl-access", "--source", source, "--threads", 1, "--json")
    assert code == 0, err
    rows = json.loads(out)["models"]["preresnet20"]
    assert rows["equality"]["same"] == rows["equality"]["of"] == 20
    assert rows["equality"]["relative_error"] < 1e-4
    assert rows["rows"]["locked model, right key"]["mean"] == rows["rows"]["plain images"]["mean"]
    assert rows["rows"]["locked model, wrong keys"]["runs"] == 5
    record = json.loads((tmp_path / "reproduce" / "privdl-access-smoke" / "record.json").read_text())
    assert record["results"]["scale"] == "smoke"
    code, _, err = call("reproduce", "privdl-segmentation", "--source", source + "&masks=1", "--threads", 1)
    assert code == 0, err
    picture = Image.open(tmp_path / "reproduce" / "privdl-segmentation-smoke" / "unet-small.png")
    assert picture.size == (7 * 38, 5 * 38)


def test_unknown_experiments_and_missing_data_say_what_to_do(call, monkeypatch):
    code, _, err = call("reproduce", "privdl")
    assert (code, "privdl-access" in err) == (2, True)
    monkeypatch.delenv("CIPHERLENS_DATA", raising=False)
    code, _, err = call("reproduce", "privdl-access", "--scale", "cpu")
    assert (code, "CIPHERLENS_DATA" in err) == (4, True)


def test_images_of_another_cipher_are_refused_even_under_the_same_key(call, data, place, key, tmp_path):
    assert call("test", place / "plain", data[1].root)[0] == 3
    code, _, err = call("test", place / "locked", data[0].root, "--key", place / "client.key")
    assert (code, "cipher" in err) == (3, True)
    assert call("test", place / "plain", data[1].root, "--measure-wrong-key")[0] == 0


def test_train_does_not_overwrite_what_lock_made(call, data, place):
    before = (place / "locked" / "last.safetensors").read_bytes()
    options = ("--epochs", 2, "--batch-size", 20, "--precision", "float32", "--lr", 0.02, "--threads", 1)
    code, _, err = call(
        *("train", data[0].root, "--out", place / "locked", "--model", "preresnet20", *options),
    )
    assert code == 2
    record = json.loads((place / "locked" / "config.json").read_text())
    sealed_for = data[1].root
    arguments = ("--out", place / "locked", "--key", place / "client.key", *options)
    code, _, err = call("train", sealed_for, *arguments)
    assert (code, record["config"]["lock"]) == (2, "shuffled"), err
    assert (place / "locked" / "last.safetensors").read_bytes() == before
    assert call("train", sealed_for, "--out", place / "new", "--inner", "plain")[0] == 2


def test_unfinished_and_damaged_runs_are_not_locked(call, place, tmp_path):
    import shutil

    for name in ("short", "empty"):
        shutil.copytree(place / "plain", tmp_path / name)
    lines = (tmp_path / "short" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "short" / "metrics.jsonl").write_text(lines[0])
    (tmp_path / "empty" / "metrics.jsonl").write_text("")
    arguments = ("--key", place / "client.key", "--out")
    code, _, err = call("lock", tmp_path / "short", *arguments, tmp_path / "a")
    assert (code, "not finished" in err) == (2, True)
    assert call("lock", tmp_path / "empty", *arguments, tmp_path / "b")[0] == 4
    assert call("lock", place / "plain", *arguments, place / "client.key" / "c")[0] == 2
    assert not [path for path in tmp_path.iterdir() if path.name not in ("short", "empty")]


def test_predict_refuses_what_is_no_ciphertext_of_the_run(call, place, tmp_path):
    np.save(tmp_path / "good.npy", np.zeros((3, 16, 16), np.uint8))
    bad = {"float": np.zeros((3, 16, 16), np.float32), "two": np.zeros((2, 3, 16, 16), np.uint8)}
    bad |= {"size": np.zeros((3, 8, 8), np.uint8), "flat": np.zeros(5, np.uint8)}
    for name, array in bad.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "empty.npy").write_bytes(b"")
    with (tmp_path / "zip.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    locked = ("predict", place / "locked", "--key", place / "client.key")
    assert call(*locked, tmp_path / "good.npy")[0] == 0
    for name in (*bad, "empty", "zip"):
        assert call(*locked, tmp_path / f"{name}.npy", tmp_path / "good.npy")[0] == 4, name
    for more in (("--top", 0), ("--masks", tmp_path / "m"), ("--feature-maps", tmp_path / "good.npy")):
        assert call(*locked, tmp_path / "good.npy", *more)[0] == 2
    assert not (tmp_path / "m").exists()


def test_operators_and_exports_of_a_locked_model_keep_the_key(key, tmp_path):
    import copy
    import pickle

    bound = create_cipher("pixel-permutation").bind(key, (3, 16, 16))
    locked = cl.lock(create_model("preresnet20", 10), bound)
    for attempt in (lambda: pickle.dumps(locked._keyed), lambda: locked.to_folder(tmp_path / "x")):
        with pytest.raises(TypeError, match="key material"):
            attempt()
    again = copy.deepcopy(locked).eval()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(again(images), locked.eval()(images))


def test_lock_is_a_public_name():
    assert cl.lock.__module__ == "cipherlens.keyed.lock"
    assert DataError.exit_code == 4


def test_an_audit_attacks_the_keyed_model_too(call, data, place, tmp_path):
    command = ("audit", data[1].root, "--plain", SOURCE, "--workers", "2", "--json")
    runs = ("--run", place / "locked", "--run", place / "plain")
    few = ("--attacks", "locked-model,known-plaintext,correlation")
    code, out, err = call(*command, *runs, "--key", place / "client.key", "--out", tmp_path / "held", *few)
    assert code == 0, err
    report = json.loads(out)
    held = [row for row in report["attacks"] if row["threat_model"] == "model"]
    assert [(row["attack"], row["budget"], row["exact_pixels"]) for row in held] == [("locked-model", 1, 1.0)]
    controls = {row["control"]: row["passed"] for row in report["controls"] if row["attack"] == "locked-model"}
    assert controls == {"identity": True, "stream": True}
    page = (tmp_path / "held" / "report.html").read_text()
    assert "Anybody who holds the model file" in page
    assert "locked-model" in page

    def list_reasons(*options):
        code, out, err = call(*command, *options, "--attacks", "known-plaintext")
        assert code == 0, err
        rows = json.loads(out)["not_run"]
        return {row["attack"]: row["reason"] for row in rows if row["threat_model"] == "model"}

    assert list_reasons("--out", tmp_path / "none") == {"locked-model": "needs a locked run"}
    assert "needs the key" in list_reasons(*runs, "--out", tmp_path / "keyless")["locked-model"]
    code, _, err = call(*command, "--attacks", "locked-model", "--out", tmp_path / "asked")
    assert (code, "locked-model needs a locked run" in " ".join(err.split())) == (2, True), err


def test_an_audit_knows_a_folded_run_by_its_plain_one(call, data, key, place, tmp_path):
    small = {"model": "vit-cifar", "epochs": 1, "batch_size": 30, "precision": "float32", "threads": 1}
    fit(
        TrainConfig(**small),
        data[0].split("train"),
        data[0].split("test"),
        tmp_path / "plain",
        data[0].spec.to_json(),
    )
    key.save(tmp_path / "client.key")
    given = ("--key", tmp_path / "client.key")
    sealed = tmp_path / "sealed"
    assert call("encrypt", SOURCE, sealed, *given, "--cipher", "shf", "--block", "4", "--workers", "1")[0] == 0
    code, _, err = call("fold", tmp_path / "plain", "--sealed", sealed, *given, "--out", tmp_path / "folded")
    assert code == 0, err
    command = ("audit", sealed, "--plain", SOURCE, "--workers", "2", "--json", "--attacks", "folded-model")
    other = ("--run", place / "locked")  # of another scheme: not attacked, and no reason to stop
    runs = ("--run", tmp_path / "plain", "--run", tmp_path / "folded", *other)
    code, out, err = call(*command, *runs, "--out", tmp_path / "report")
    assert code == 0, err
    report = json.loads(out)
    assert [(row["attack"], row["exact_pixels"]) for row in report["attacks"]] == [("folded-model", 1.0)]
    assert all(row["passed"] for row in report["controls"])
    code, _, err = call(*command, "--run", tmp_path / "folded", "--out", tmp_path / "alone")
    assert code == 2
    assert "folded-model" in err
