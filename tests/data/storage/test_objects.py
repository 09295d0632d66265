"""Photos in object storage are the source that they are in a folder."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sources.registry import canonical_source, open_source
from cipherlens.data.storage.url import Url
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key


def upload(folder: Path, url: Url) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            url.system.pipe_file((url / path.relative_to(folder).as_posix()).path, path.read_bytes())


def write_picture(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (value, 10, 20)).save(path)


LAYOUTS = {
    "classes": ["cat/1.png", "dog/2.png", "dog/more/3.png", "stray.png"],
    "splits": ["train/cat/1.png", "train/dog/2.png", "test/dog/3.png", "train/stray.png", "other/cat/4.png"],
    "flat": ["b.png", "a.png", "notes.txt"],
    "flat splits": ["train/1.png", "test/2.png"],
    "a class in one split": ["train/a/1.png", "val/b/2.PNG"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_as_the_folder(layout: str, tmp_path: Path, place: Url) -> None:
    for number, name in enumerate(LAYOUTS[layout]):
        if name.endswith(".txt"):
            (tmp_path / "photos" / name).write_text("no picture")
        else:
            write_picture(tmp_path / "photos" / name, number)
    upload(tmp_path / "photos", place)
    here, there = open_source(str(tmp_path / "photos")), open_source(str(place))
    assert there.classes == here.classes and there.splits == here.splits
    assert [(name, size) for name, size, _ in there.files] == [(name, size) for name, size, _ in here.files]
    for split, count in here.splits.items():
        assert there.read_labels(split).tolist() == here.read_labels(split).tolist()
        for one, other in zip(here.read(split, range(count)), there.read(split, range(count)), strict=True):
            assert one.name == other.name and one.label == other.label
            assert (one.decode() == other.decode()).all()


def test_version_changes_with_the_content(place: Url, tmp_path: Path) -> None:
    write_picture(tmp_path / "photos" / "a.png", 1)
    upload(tmp_path / "photos", place)
    before = list(open_source(str(place)).files)
    write_picture(tmp_path / "photos" / "a.png", 2)
    upload(tmp_path / "photos", place)
    after = list(open_source(str(place)).files)
    assert before[0][:2] == after[0][:2] and before != after


def test_from_storage_to_storage(folder: Path, bucket: Url, key: Key, tmp_path: Path) -> None:
    upload(folder, bucket / "photos")
    cipher = create_cipher("pixel-permutation")
    assert seal(str(bucket / "photos"), bucket / "set", cipher, key).images == 18
    seal(folder, tmp_path / "set", cipher, key)
    there, here = SealedDataset.open(bucket / "set", key), SealedDataset.open(tmp_path / "set", key)
    assert (there.split("train").read_all() == here.split("train").read_all()).all()


def test_parquet(place: Url, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = []
    for number in range(6):
        content = io.BytesIO()
        Image.new("RGB", (16, 16), (number, 0, 0)).save(content, "PNG")
        pictures.append({"bytes": content.getvalue(), "path": None})
    for split in ("train", "test"):
        path = tmp_path / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"image": pictures, "label": [0, 1] * 3}), path)
    upload(tmp_path / "data", place)
    here, there = open_source(str(tmp_path / "data")), open_source(str(place))
    assert there.splits == here.splits == {"test": 6, "train": 6} and there.classes == here.classes
    decoded = [np.stack([item.decode() for item in source.read("train", [5, 0])]) for source in (here, there)]
    assert (decoded[0] == decoded[1]).all()
    assert open_source(str(place / "test-00000-of-00001.parquet")).splits == {"test": 6}


def test_held_out(place: Url, tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png")
    upload(tmp_path / "photos", place)
    assert open_source(canonical_source(f"{place}/?hold_out=2")).splits == {"train": 4, "test": 4}


def test_nothing_there(place: Url) -> None:
    with pytest.raises(DataError, match="holds no images"):
        open_source(str(place))
    with pytest.raises(DataError, match="nothing at"):
        open_source(str(place / "a.parquet"))


def test_destination_inside_of_the_photos(folder: Path, memory: Url, key: Key) -> None:
    upload(folder, memory / "photos")
    with pytest.raises(UsageError, match="lies inside of"):
        seal(str(memory / "photos"), memory / "photos" / "sealed", create_cipher("hill"), key)
    assert seal(str(memory / "photos"), memory / "photos-sealed", create_cipher("hill"), key).images == 18
