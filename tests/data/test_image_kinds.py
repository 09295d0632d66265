"""Every kind of image that users bring is decoded exactly, mapped as stated, or refused: docs/images.md."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cipherlens.data.conversion import REMARKS, TURNED, Rules
from cipherlens.data.decoding import decode
from cipherlens.data.images import Item, Preprocess
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.errors import DataError, UsageError
from tests.data.image_kinds import EXACT, KINDS, MAPPED, REFUSED, save, with_exif, write_dicom

PAGE = (Path(__file__).parents[2] / "docs" / "images.md").read_text()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_nothing_is_silently_changed(kind, tmp_path):
    if kind.needs is not None:
        pytest.importorskip(kind.needs)
    content, heard = kind.make(), []
    path = tmp_path / "photo"
    path.write_bytes(content)
    for given in (content, path):
        heard.clear()
        if kind.how == REFUSED:
            with pytest.raises(DataError, match=kind.expected) as caught:
                decode(given, "photo", 10_000, kind.rules, heard.append)
            assert "photo" in str(caught.value) and caught.value.hint
            continue
        found = decode(given, "photo", 10_000, kind.rules, heard.append)
        expected = kind.expected if kind.expected.ndim == 3 else np.stack([kind.expected] * kind.rules.channels, -1)
        assert found.dtype == np.uint8 and found.shape == expected.transpose(2, 0, 1).shape
        # Pillow's and pydicom's integers round otherwise.
        tolerance = int("transparent" in kind.remarks or "YBR" in kind.name)
        assert np.abs(found.astype(int) - expected.transpose(2, 0, 1)).max() <= tolerance
        assert tuple(remark for remark in heard if remark != TURNED) == kind.remarks


def test_the_page_lists_every_kind_with_what_becomes_of_it():
    assert len(KINDS) >= 40 and len({kind.name for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        row = next((line for line in PAGE.splitlines() if line.startswith(f"| {kind.name} |")), "")
        assert f"| {kind.how} |" in row, kind.name
        assert kind.how in (EXACT, MAPPED, REFUSED)
        assert bool(kind.remarks) == ("counted" in row), kind.name
    assert all(text in PAGE for text in REMARKS.values())


def test_a_tall_transparent_picture_is_laid_over_white_whole():
    """It is done in bands of rows, which must not show."""
    pixels = np.random.default_rng(0).integers(0, 256, (700, 3, 4), dtype=np.uint8)
    found = decode(save(Image.fromarray(pixels), "PNG"), "photo", 10_000).transpose(1, 2, 0)
    colour, alpha = pixels[..., :3].astype(float), pixels[..., 3:] / 255
    assert np.abs(found - (alpha * colour + (1 - alpha) * 255)).max() <= 1


@pytest.mark.parametrize("window", ["5:5", "9:1", "a:b", "1", "nan:2", "0:inf", "max", ""])
def test_impossible_windows(window):
    with pytest.raises(UsageError, match="LOW:HIGH"):
        Rules(window=window)
    with pytest.raises(UsageError, match="1 or 3"):
        Rules(channels=2)


def test_encrypt_says_what_it_did_and_what_it_left(call, tmp_path):
    photos = tmp_path / "photos"
    for number, label in enumerate(("cat", "dog")):
        (photos / label).mkdir(parents=True)
        (photos / label / "a.jpg").write_bytes(with_exif(np.full((8, 12, 3), 40 * number, np.uint8), 6, "JPEG"))
        (photos / label / "b.png").write_bytes(save(Image.fromarray(np.full((12, 8, 4), 99, np.uint8))))
    key = tmp_path / "k.key"
    assert call("keygen", key)[0] == 0
    sealed = ("encrypt", photos, tmp_path / "whole", "--key", key, "--block", "4", "--workers", "2")
    code, _, err = call(*sealed)
    assert code == 0, err  # all upright, so that their sides agree
    assert "note: 2 images: transparency was laid over white" in err
    for name in ("cat/list.txt", "cat/more.avif", "above.jpg", ".hidden"):
        (photos / name).write_bytes(b"")
    code, out, err = call(*sealed[:2], tmp_path / "other", *sealed[3:], "--json")
    assert code == 6 and json.loads(out)["unopened"] == {".txt": 1, ".avif": 1, ".jpg": 1}
    assert "not opened: 1 file .avif" in err and "3 files were not opened" in err


def test_a_window_is_kept_with_the_sealed_data(call, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 4096, (8, 8)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "photos" / f"{number}.png")
    key = tmp_path / "k.key"
    assert call("keygen", key)[0] == 0
    sealing = ("encrypt", tmp_path / "photos", tmp_path / "sealed", "--key", key, "--block", "4")
    code, _, err = call(*sealing)
    assert code == 4 and "more than 8 bits" in err and "--window" in err
    windowed = (*sealing, "--window", "0:4095", "--channels", "1")
    code, _, err = call(*windowed)
    assert code == 0 and "3 images: more than 8 bits" in err
    assert call(*windowed)[0] == 0  # the finished job
    assert call(*sealing, "--window", "0:4000", "--channels", "1")[0] != 0
    spec = SealedDataset.open(tmp_path / "sealed").spec
    assert spec.plain_shape == (1, 8, 8) and spec.preprocess().rules == Rules(1, "0:4095")
    assert "0:4095" in call("inspect", tmp_path / "sealed")[1]
    assert call("decrypt", tmp_path / "sealed", tmp_path / "out", "--key", key)[0] == 0
    for number in range(3):
        values = np.asarray(Image.open(tmp_path / "photos" / f"{number}.png")).astype(float)
        again = np.asarray(Image.open(tmp_path / "out" / "all" / f"00000{number}.png"))
        assert np.array_equal(again, np.rint(values / 4095 * 255))


@pytest.mark.parametrize(("key", "value"), [("inverted", "1"), ("window", "0:9"), ("remarks", "ok")])
def test_text_in_a_file_steers_nothing(key, value):
    from PIL.PngImagePlugin import PngInfo

    text, heard = PngInfo(), []
    text.add_text(key, value)
    content = save(Image.fromarray(np.full((4, 4, 3), 200, np.uint8)), pnginfo=text)
    assert (decode(content, "photo", 100, Rules(), heard.append) == 200).all() and heard == []


@pytest.mark.parametrize("tag", [256, 282, 531])
def test_odd_fields_of_exif_do_not_matter(tag):
    entries = sorted([(0x0112, 3, 1, 6), (tag, 2, 4, int.from_bytes(b"odd\0", "little"))])
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + table + bytes(4)
    content = save(Image.fromarray(np.zeros((4, 8, 3), np.uint8)), "JPEG", exif=exif)
    assert decode(content, "photo", 100).shape == (3, 8, 4)


def test_a_dicom_is_not_inflated_without_a_limit():
    pytest.importorskip("pydicom")
    for syntax in ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"):
        content = write_dicom(np.zeros((4, 4), np.uint8))
        content = content.replace(b"1.2.840.10008.1.2.1\0", (syntax + "\0")[:20].encode(), 1)
        with pytest.raises(DataError, match="cannot be decoded"):
            decode(content, "photo", 100)
    with pytest.raises(DataError, match="4x4 pixels"):
        decode(write_dicom(np.zeros((4, 4), np.uint8)), "photo", 15)


def test_a_mask_does_not_turn_with_its_image():
    photo = with_exif(np.zeros((4, 4, 3), np.uint8), 3)
    item = Item("a", -1, photo, mask=np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="orientation"):
        Preprocess().apply_to_mask(item)
    deep = save(Image.fromarray(np.zeros((4, 4), np.uint16)))
    masked = Item("a", -1, deep, mask=np.zeros((4, 4), np.uint8))
    assert Preprocess(rules=Rules(1, "0:9")).apply_to_mask(masked).shape == (1, 4, 4)
