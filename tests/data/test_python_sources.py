"""Data sets of Python, torchvision and Hugging Face as sources: what they hold is what is sealed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import cipherlens as cl
from cipherlens.data.sealed.shards import SealOptions
from cipherlens.data.sources.python.hugging_face import open_folder
from cipherlens.data.sources.registry import open_source
from tests.data.python_sets import LABELS, PIXELS, Broken, Made

KEY = cl.Key(bytes(range(32)))
HILL = cl.create_cipher("hill", block=4)
IDENTITY = cl.create_cipher("identity")


def decrypt(root: Path, split: str) -> np.ndarray:
    sealed = cl.SealedDataset.open(root, KEY)
    plain: np.ndarray = sealed.spec.bind(KEY).decrypt(sealed.split(split).read_all(), "uint8")
    return plain


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "pil": Image.fromarray,
    "rows": lambda rows: rows,
    "channels first": lambda rows: rows.transpose(2, 0, 1),
    "tensor": lambda rows: torch.from_numpy(rows.transpose(2, 0, 1).copy()),
    "transparent": lambda rows: np.concatenate([rows, np.full_like(rows[:, :, :1], 255)], axis=2),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_image_is_the_same(form: str, tmp_path: Path) -> None:
    cl.seal(Made(FORMS[form]), tmp_path / "set", HILL, KEY, SealOptions(hold_out=0))
    assert np.array_equal(decrypt(tmp_path / "set", "all"), PIXELS)
    assert cl.SealedDataset.open(tmp_path / "set").split("all").labels.tolist() == LABELS
    assert cl.SealedDataset.open(tmp_path / "set").spec.classes == ("0", "1", "2")


def test_grey_rows_and_files(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    Image.fromarray(PIXELS[0].transpose(1, 2, 0)).save(path)
    for name, take in (("grey", lambda rows: rows[:, :, 0]), ("files", lambda rows: path)):
        cl.seal(Made(take), tmp_path / name, IDENTITY, KEY, SealOptions(hold_out=0))
    grey = PIXELS[:, :1].repeat(3, axis=1)
    assert np.array_equal(decrypt(tmp_path / "grey", "all"), grey)
    assert np.array_equal(decrypt(tmp_path / "files", "all"), PIXELS[:1].repeat(12, axis=0))


def test_workers_and_splits(tmp_path: Path) -> None:
    parts = {"train": Made(), "test": Made(labels=LABELS[:5])}
    done = cl.seal(parts, tmp_path / "set", HILL, KEY, SealOptions(workers=2))
    assert done.images == 17
    assert np.array_equal(decrypt(tmp_path / "set", "test"), PIXELS[:5])
    cl.seal(parts, tmp_path / "alone", HILL, KEY)
    assert np.array_equal(decrypt(tmp_path / "set", "train"), decrypt(tmp_path / "alone", "train"))
    with pytest.raises(cl.CipherlensError, match="worker processes"):
        cl.seal(
            {"train": Made(lambda rows: rows), "test": Made()}, tmp_path / "no", HILL, KEY, SealOptions(workers=2)
        )


def test_the_same_call_continues_and_another_data_set_is_refused(tmp_path: Path) -> None:
    options = SealOptions(hold_out=0)
    cl.seal(Made(), tmp_path / "set", HILL, KEY, options)
    assert cl.seal(Made(), tmp_path / "set", HILL, KEY, options).reused == 1
    for other in (Made(labels=[2, 1, 0] * 4), Made(lambda rows: rows + 1)):
        with pytest.raises(cl.CipherlensError, match="another source"):
            cl.seal(other, tmp_path / "set", HILL, KEY, options)


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (Made(lambda rows: torch.from_numpy(rows / 255).float()), "PILToTensor"),
        (Made(labels=[0.5] * 12), "whole number"),
        (Made(labels=[-1] + [0] * 11), "label -1"),
        (Made(lambda rows: "cat.png"), "not an image"),
        (Broken(), "torn file"),
        (Made(labels=[]), "empty"),
        (object(), "map-style"),
        (iter([1]), "map-style"),
        (17, "map-style"),
    ],
)
def test_what_is_no_data_set_of_images_is_refused(dataset: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(cl.CipherlensError) as caught:
        cl.seal(dataset, tmp_path / "set", IDENTITY, KEY)
    assert said in str(caught.value) + str(caught.value.hint)
    assert not (tmp_path / "set" / "manifest.json").exists()


def test_a_list_of_labels_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    made = Made()
    made.targets = LABELS[::-1]  # type: ignore[attr-defined]
    with pytest.raises(cl.CipherlensError, match="has label 0, and 2 in the list"):
        cl.seal(made, tmp_path / "set", IDENTITY, KEY)


def test_masks_need_the_names_of_their_classes(tmp_path: Path) -> None:
    masks = [PIXELS[i, 0] % 3 for i in range(12)]
    with pytest.raises(cl.CipherlensError, match="names the classes"):
        cl.seal(Made(labels=masks), tmp_path / "set", IDENTITY, KEY)
    for number, form in enumerate((np.asarray, Image.fromarray, lambda m: torch.from_numpy(m.astype(np.int64)))):
        source = cl.data.from_python(Made(labels=[form(mask) for mask in masks]), ["sky", "road", "car"])
        cl.seal(source, tmp_path / str(number), IDENTITY, KEY)
        assert np.array_equal(cl.SealedDataset.open(tmp_path / str(number)).split("all").masks, masks)


def test_torchvision(tmp_path: Path, folder: Path) -> None:
    """What torchvision reads is what our own reading of the folder gives."""
    found = torchvision.datasets.ImageFolder(str(folder / "train"))
    cl.seal(found, tmp_path / "theirs", IDENTITY, KEY, SealOptions(hold_out=0))
    cl.seal(folder / "train", tmp_path / "ours", IDENTITY, KEY, SealOptions(hold_out=0))
    assert np.array_equal(decrypt(tmp_path / "theirs", "all"), decrypt(tmp_path / "ours", "all"))
    sealed = cl.SealedDataset.open(tmp_path / "theirs")
    assert sealed.spec.classes == ("cat", "dog") and sealed.split("all").labels.tolist() == [0] * 6 + [1] * 6
    part = torch.utils.data.Subset(found, [11, 0])
    cl.seal(part, tmp_path / "part", IDENTITY, KEY)
    assert cl.SealedDataset.open(tmp_path / "part").split("all").labels.tolist() == [1, 0]


@pytest.fixture
def hugging_face() -> datasets.DatasetDict:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    rows = {"image": [Image.fromarray(image.transpose(1, 2, 0)) for image in PIXELS], "label": LABELS}
    whole = datasets.Dataset.from_dict(rows, features=features)
    return datasets.DatasetDict(train=whole, test=whole.select(range(4)))


def test_hugging_face(hugging_face: datasets.DatasetDict, tmp_path: Path) -> None:
    cl.seal(hugging_face, tmp_path / "set", HILL, KEY, SealOptions(workers=2))
    sealed = cl.SealedDataset.open(tmp_path / "set")
    assert (sealed.spec.classes, sealed.splits) == (("a", "b", "c"), {"train": 12, "test": 4})
    assert np.array_equal(decrypt(tmp_path / "set", "train"), PIXELS)
    cl.seal(hugging_face["train"].with_format("torch"), tmp_path / "alone", HILL, KEY, SealOptions(hold_out=0))
    assert np.array_equal(decrypt(tmp_path / "alone", "all"), PIXELS)


def test_columns_of_other_names(hugging_face: datasets.DatasetDict, tmp_path: Path) -> None:
    train = hugging_face["train"]
    renamed = train.rename_columns({"image": "photo", "label": "kind"})
    cl.seal(renamed, tmp_path / "renamed", IDENTITY, KEY, SealOptions(hold_out=0))
    assert cl.SealedDataset.open(tmp_path / "renamed").split("all").labels.tolist() == LABELS
    two = train.rename_column("label", "fine").add_column("coarse", LABELS, feature=train.features["label"])
    with pytest.raises(cl.CipherlensError, match="which column holds the labels") as caught:
        cl.seal(two, tmp_path / "two", IDENTITY, KEY)
    assert "fine, coarse" in str(caught.value.hint)
    cl.seal(cl.data.from_hf(two, label="coarse"), tmp_path / "two", IDENTITY, KEY)
    with pytest.raises(cl.CipherlensError, match="column"):
        cl.data.from_hf(two, label="finer")
    cl.seal(train.remove_columns("label"), tmp_path / "bare", IDENTITY, KEY)
    assert cl.SealedDataset.open(tmp_path / "bare").spec.classes == ()


def test_masks_of_hugging_face(tmp_path: Path) -> None:
    masks = [Image.fromarray(PIXELS[i, 0] % 3) for i in range(12)]
    rows = {"image": [Image.fromarray(image.transpose(1, 2, 0)) for image in PIXELS], "annotation": masks}
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    found = datasets.Dataset.from_dict(rows, features=features)
    source = cl.data.from_hf(found, classes=["sky", "road", "car"])
    cl.seal(source, tmp_path / "set", cl.create_cipher("pixel-permutation"), KEY)
    cl.unseal(tmp_path / "set", tmp_path / "out", KEY)
    first = sorted((tmp_path / "out").rglob("*.png"))
    assert first and np.array_equal(np.asarray(Image.open(first[0])).shape[:2], (16, 16))


def test_folders_of_hugging_face(hugging_face: datasets.DatasetDict, tmp_path: Path, call: Any) -> None:
    """``save_to_disk``, a repository with Parquet files in ``data``, and one of images."""
    hugging_face.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for split in hugging_face:
        hugging_face[split].to_parquet(tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet")
    KEY.save(tmp_path / "key")
    for name in ("saved", "hub"):
        scheme = ("--key", tmp_path / "key", "--cipher", "hill", "--block", 4)
        code, _, err = call("encrypt", f"hf:{tmp_path / name}", tmp_path / f"{name}-set", *scheme)
        assert code == 0, err
        assert np.array_equal(decrypt(tmp_path / f"{name}-set", "train"), PIXELS)
        assert cl.SealedDataset.open(tmp_path / f"{name}-set").spec.classes == ("a", "b", "c")
    assert open_source(f"hf:{tmp_path / 'saved'}?label=label").splits == {"train": 12, "test": 4}
    (tmp_path / "hub" / "other").mkdir()
    hugging_face["test"].to_parquet(tmp_path / "hub" / "other" / "test.parquet")
    for place, said in (
        (tmp_path / "hub", "several sets"),
        (tmp_path / "nowhere", "no images|cannot"),
        (f"{tmp_path / 'saved'}?labels=a", "option"),
    ):
        with pytest.raises(cl.CipherlensError, match=said):
            open_source(f"hf:{place}")


def test_a_damaged_folder_of_hugging_face_is_refused(hugging_face: datasets.DatasetDict, tmp_path: Path) -> None:
    hugging_face.save_to_disk(str(tmp_path / "saved"))
    arrow = next((tmp_path / "saved" / "train").glob("*.arrow"))
    whole = arrow.read_bytes()
    place = whole.rindex((12).to_bytes(8, "little") + bytes(8))  # a column's number of rows, in the last batch
    for damaged in (whole[:200], whole[:place] + (-12).to_bytes(8, "little", signed=True) + whole[place + 8 :]):
        arrow.write_bytes(damaged)
        with pytest.raises(cl.CipherlensError, match="cannot be read"):
            open_folder(str(tmp_path / "saved"))
