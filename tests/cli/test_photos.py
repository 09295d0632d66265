"""Plain photos on the command line: which are held out, what is refused in words, and the plain baseline."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from cipherlens.data.sealed.dataset import SealedDataset


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for label, count in (("cat", 6), ("dog", 6), ("rare", 2)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def key(call, tmp_path):
    assert call("keygen", tmp_path / "k.key")[0] == 0
    return tmp_path / "k.key"


def count(path):
    return SealedDataset.open(path).splits


@pytest.mark.parametrize(
    ("options", "splits", "said"),
    [
        ((), {"train": 12, "test": 2}, True),
        (("--hold-out", "0"), {"all": 14}, False),
        (("--hold-out", "2"), {"train": 7, "test": 7}, False),
        (("--split", "all"), {"all": 14}, False),
        (("--classes", "rare"), {"all": 2}, False),
        (("--classes", "cat,rare"), {"train": 7, "test": 1}, True),
    ],
)
def test_what_is_held_out(call, photos, key, tmp_path, options, splits, said):
    sealing = ("encrypt", photos, tmp_path / "sealed", "--key", key, "--block", "4", *options)
    code, _, err = call(*sealing)
    assert code == 0, err
    assert count(tmp_path / "sealed") == splits and ("5th image" in err) == said
    code, out, err = call(
        "attack", "covariance", tmp_path / "sealed", "--plain", photos, "--prior", "parametric", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["budget"] == max(splits.values())  # an eavesdropper looks at the larger part
    # The attack's truth is what was sealed: decrypted, the images are those of the split.
    assert call("decrypt", tmp_path / "sealed", tmp_path / "back", "--key", key)[0] == 0
    assert len(list((tmp_path / "back").rglob("*.png"))) == sum(splits.values())


def test_a_source_with_splits_holds_out_nothing(call, key, tmp_path):
    source = "synthetic:objects?n=20&test=5&size=16"
    code, _, err = call("encrypt", source, tmp_path / "a", "--key", key, "--block", "4", "--hold-out", "4")
    assert code == 2 and "splits already" in err
    code, _, err = call("encrypt", source, tmp_path / "a", "--key", key, "--block", "4")
    assert code == 0 and "5th image" not in err and count(tmp_path / "a") == {"train": 20, "test": 5}


def test_links_are_counted(call, photos, key, tmp_path):
    (photos / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (photos / "dog" / "more").symlink_to(photos / "cat")
    code, out, _ = call("encrypt", photos, tmp_path / "sealed", "--key", key, "--block", "4", "--json")
    assert code == 6 and json.loads(out)["unopened"] == {"(links)": 2}


def test_training_on_plain_photos(call, photos, key, tmp_path):
    pytest.importorskip("accelerate")
    (photos / "cat" / "list.txt").write_text("")
    train = ("train", photos, "--plain", "--size", "16", "--epochs", "1", "--threads", "1", "--batch-size", "4")
    code, out, err = call(*train, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    assert "5th image" in err and "only 2 training images" in err and "not opened: 1 file .txt" in err
    assert json.loads(out)["cipher"] == "identity" and json.loads(out)["train_accuracy_afterwards"] is not None
    shuffled = ("encrypt", photos, tmp_path / "s", "--key", key, "--cipher", "pixel-permutation", "--size", "16")
    assert call(*shuffled)[0] == 6
    assert call("lock", tmp_path / "run", "--key", key, "--out", tmp_path / "locked")[0] == 0
    code, out, err = call("test", tmp_path / "locked", tmp_path / "s", "--key", key, "--json")
    assert code == 0 and json.loads(out)["n"] == 2
    identity = ("encrypt", photos, tmp_path / "i", "--key", key, "--cipher", "identity", "--size", "16")
    assert call(*identity)[0] == 6
    assert call("test", tmp_path / "run", tmp_path / "i")[0] == 0
    code, out, _ = call("predict", tmp_path / "run", photos / "cat", photos / "dog" / "0.png", "--json")
    assert code == 0 and len(json.loads(out)["predictions"]) == 7
    assert call("predict", tmp_path / "run", tmp_path / "nothing")[0] == 4
    assert call(*train, "--key", key, "--out", tmp_path / "no")[0] == 2
    assert call("train", tmp_path / "i", "--size", "16", "--out", tmp_path / "no")[0] == 2


def test_images_without_labels_are_refused_in_words(call, photos, key, tmp_path):
    pytest.importorskip("accelerate")
    assert call("encrypt", photos / "cat", tmp_path / "flat", "--key", key, "--block", "4")[0] == 0
    code, _, err = call("train", tmp_path / "flat", "--out", tmp_path / "run")
    assert code == 4 and "labels" in err
    code, _, err = call("train", photos / "cat", "--plain", "--out", tmp_path / "run")
    assert code == 2 and "no classes" in err


def test_speednet_is_locked_after_training(call, photos, key, tmp_path):
    pytest.importorskip("accelerate")
    shuffled = ("encrypt", photos, tmp_path / "s", "--key", key, "--cipher", "pixel-permutation", "--size", "16")
    assert call(*shuffled)[0] == 0
    train = ("train", tmp_path / "s", "--key", key, "--model", "speednet", "--out", tmp_path / "run")
    code, _, err = call(*train)
    assert code == 2 and "lock that run" in err


@pytest.fixture
def classifier(call, photos, tmp_path):
    pytest.importorskip("accelerate")
    train = ("train", photos, "--plain", "--size", "16", "--epochs", "1", "--threads", "1", "--batch-size", "4")
    assert call(*train, "--out", tmp_path / "run")[0] == 0
    return tmp_path / "run"


class Stdin:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def test_images_come_from_patterns_and_from_stdin(call, photos, classifier, monkeypatch):
    def answer(*images):
        code, out, err = call("predict", classifier, *images, "--json")
        return json.loads(out)["predictions"] if code == 0 else (code, err)

    one = photos / "cat" / "0.png"
    expected = answer(one)
    found = answer(photos / "*" / "[01].png")
    assert sorted(found) == sorted(
        str(photos / name / f"{n}.png") for name in ("cat", "dog", "rare") for n in (0, 1)
    )
    assert found[str(one)] == expected[str(one)] and len(answer(photos / "**" / "*.png")) == 14
    monkeypatch.setattr("sys.stdin", Stdin(one.read_bytes()))
    assert answer("-") == {"stdin": expected[str(one)]}
    array = io.BytesIO()
    np.save(array, np.asarray(Image.open(one).crop((2, 0, 18, 16))).transpose(2, 0, 1))
    monkeypatch.setattr("sys.stdin", Stdin(array.getvalue()))
    assert answer("-")["stdin"] == expected[str(one)]
    for content, word in ((b"", "no image on stdin"), (b"GIF, not", "stdin is not an image")):
        monkeypatch.setattr("sys.stdin", Stdin(content))
        code, err = answer("-")
        assert code == 4 and word in err
    assert answer(photos / "*.tif")[0] == 4
    (photos / "cat" / "notes.txt").write_text("no image")
    assert len(answer(photos / "cat" / "*")) == 6 and len(answer(photos / "**" / "0.png")) == 3
    assert answer(photos / "**.png")[0] == 2


def test_a_hint_names_only_options_that_the_command_has(call, photos, classifier, key, tmp_path):
    deep = photos / "cat" / "deep.png"
    Image.fromarray(np.full((16, 20), 3000, np.uint16)).save(deep)
    code, _, err = call("predict", classifier, deep)
    assert code == 4 and "encrypt with a window" in err and "--" not in err
    for option in ("--legacy-padding", "--adapt"):
        code, _, err = call("train", photos, "--plain", option, "--out", tmp_path / "no")
        assert code == 2 and "no adaptation network" in err
    code, _, err = call("encrypt", photos, tmp_path / "s", "--key", key, "--block", "4")
    assert code == 4 and "(--window, --on-error)" in err
    train = ("train", photos, "--plain", "--size", "16", "--epochs", "1", "--threads", "1", "--batch-size", "4")
    code, _, err = call(*train, "--out", tmp_path / "deep")
    assert code == 4 and "(--window)" in err
    code, _, err = call(*train, "--window", "0:65535", "--channels", "1", "--out", tmp_path / "deep")
    assert code == 0, err
    code, _, err = call("predict", tmp_path / "deep", deep, "--json")  # by the same window
    assert code == 0, err
