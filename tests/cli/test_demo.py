"""The demo of one photo: it is read back from its only ciphertext, and nothing but the report stays."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("jinja2")

from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sources.registry import open_source


def make_photo(path, side=224):
    """A generated picture as a camera stores it: oblong, turned, with a header that says so."""
    (item,) = open_source(f"synthetic:objects-{side}?n=4&test=4").read("train", [1])
    pixels = np.pad(item.decode().transpose(1, 2, 0), ((0, 0), (16, 24), (0, 0)), mode="edge")
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_270).save(path, exif=exif, quality=95)
    return path


def test_one_photo_is_read_back(call, tmp_path, monkeypatch):
    photo = make_photo(tmp_path / "IMG_1.JPG")
    made = tmp_path / "private"
    made.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(made))
    code, out, err = call("demo", "--photo", photo, "--out", tmp_path / "out", "--json")
    assert code == 0, err
    facts = json.loads(out)
    (attack,) = facts["attacks"]
    assert (attack["attack"], attack["budget"], attack["n"]) == ("covariance", 1, 1)
    assert attack["ssim"] > attack["guess_ssim"] + 0.15 and attack["beats_guessing"]
    report = json.loads((tmp_path / "out" / "photo-report" / "report.json").read_text())
    assert report["sealed"]["plain_shape"] == [3, 224, 224] and report["sealed"]["params"]["block"] == 8
    stream = next(row for row in report["controls"] if row["control"] == "stream")
    assert stream["passed"] and "Not counted" not in report["verdict_text"]
    assert "read without the key" in (tmp_path / "out" / "photo-report" / "report.html").read_text()
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["report.html", "report.json"]
    assert not list(made.iterdir())  # neither key nor photo stays


@pytest.mark.parametrize(("side", "word"), [(64, "64 pixels on its shorter side"), (None, "is not an image")])
def test_what_is_no_photo_is_refused(call, tmp_path, side, word):
    photo = tmp_path / "a.png"
    if side:
        Image.new("RGB", (200, side)).save(photo)
    else:
        photo.write_text("no image")
    code, _, err = call("demo", "--photo", photo, "--out", tmp_path / "out")
    assert code == 4 and word in err and not (tmp_path / "out").exists()
    assert call("demo", "--photo", photo, "--epochs", "1", "--out", tmp_path / "out")[0] == 2
    assert call("demo", "--photo", tmp_path, "--out", tmp_path / "out")[0] == 4  # a folder has more than one


def test_one_image_file_is_a_source(call, tmp_path):
    photo = make_photo(tmp_path / "IMG_1.JPG")
    assert call("keygen", tmp_path / "k.key")[0] == 0
    seal = ("encrypt", photo, tmp_path / "sealed", "--key", tmp_path / "k.key", "--size", "64", "--json")
    code, out, err = call(*seal)
    assert code == 0 and json.loads(out)["unopened"] == {}, err
    assert SealedDataset.open(tmp_path / "sealed").splits == {"all": 1}
    code, _, err = call("attack", "covariance", tmp_path / "sealed", "--plain", photo, "--prior", "parametric")
    assert code == 0, err
