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
from cipherlens.data.sealed.reading import SealOptions
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


def test_arrays_of_hugging_face(tmp_path: Path) -> None:
    """Columns of numbers as images and as masks; an image that alone has no mask is named."""
    shapes = {"image": datasets.Array3D((16, 16, 3), "uint8"), "mask": datasets.Array2D((16, 16), "uint8")}
    masks = list(PIXELS[:, 0] % 3)
    rows = {"image": list(PIXELS.transpose(0, 2, 3, 1)), "mask": masks}
    found = datasets.Dataset.from_dict(rows, features=datasets.Features(shapes))
    cl.seal(found.remove_columns("mask"), tmp_path / "bare", IDENTITY, KEY)
    assert np.array_equal(decrypt(tmp_path / "bare", "all"), PIXELS)
    source = cl.data.from_hf(found, classes=["sky", "road", "car"])
    assert np.array_equal(source.read("all", [3])[0].mask, masks[3])
    for missing in (0, 5):
        some = [None if number == missing else mask for number, mask in enumerate(masks)]
        found = datasets.Dataset.from_dict(rows | {"mask": some}, features=datasets.Features(shapes))
        with pytest.raises(cl.CipherlensError, match=f"image {missing}"):
            cl.seal(cl.data.from_hf(found, classes=["a", "b", "c"]), tmp_path / f"{missing}", IDENTITY, KEY)


@pytest.mark.parametrize("missing", [0, 5])
def test_an_image_without_a_mask_is_named(missing: int, tmp_path: Path) -> None:
    samples: list[Any] = [(image.transpose(1, 2, 0), image[0] % 3) for image in PIXELS]
    samples[missing] = (samples[missing][0], None)
    with pytest.raises(cl.CipherlensError, match="image 5 has no mask" if missing else "image 0 has label -1"):
        cl.seal(cl.data.from_python(samples, classes=["a", "b", "c"]), tmp_path / "set", IDENTITY, KEY)


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
    for place in ("saved", "saved?label=label"):  # its files would be read as those of the source
        with pytest.raises(cl.CipherlensError, match="inside"):
            cl.seal(f"hf:{tmp_path / place}", tmp_path / "saved" / "set", IDENTITY, KEY)


def test_a_damaged_folder_of_hugging_face_is_refused(hugging_face: datasets.DatasetDict, tmp_path: Path) -> None:
    hugging_face.save_to_disk(str(tmp_path / "saved"))
    arrow = next((tmp_path / "saved" / "train").glob("*.arrow"))
    whole = arrow.read_bytes()
    place = whole.rindex((12).to_bytes(8, "little") + bytes(8))  # a column's number of rows, in the last batch
    for damaged in (whole[:200], whole[:place] + (-12).to_bytes(8, "little", signed=True) + whole[place + 8 :]):
        arrow.write_bytes(damaged)
        with pytest.raises(cl.CipherlensError, match="cannot be read"):
            open_folder(str(tmp_path / "saved"))


def open_sealed(root: Path, split: str) -> Any:
    return cl.SealedDataset.open(root).split(split)


@pytest.mark.parametrize("name", ["../../evil", "a/b", "train 1", "trän", "", "a-b", "x" * 70])
def test_names_of_splits_that_cannot_be(name: str, tmp_path: Path) -> None:
    with pytest.raises(cl.CipherlensError, match="name of a split"):
        cl.seal({name: Made()}, tmp_path / "in" / "set", IDENTITY, KEY)
    assert not list(tmp_path.rglob("*.safetensors"))
    cl.seal({0: Made()}, tmp_path / "set", IDENTITY, KEY)  # type: ignore[dict-item]
    assert cl.SealedDataset.open(tmp_path / "set").splits == {"0": 12}


def test_small_images_can_be_read_again(tmp_path: Path) -> None:
    """A shard has no more images than a manifest may say."""
    cl.seal([(np.zeros((8, 8, 3), np.uint8), 0)] * 3, tmp_path / "set", IDENTITY, KEY)
    assert len(open_sealed(tmp_path / "set", "all")) == 3


def name_classes(made: Made, *classes: Any) -> Made:
    made.classes = list(classes)  # type: ignore[attr-defined]
    return made


def test_labels_follow_the_names_of_classes(tmp_path: Path) -> None:
    """One split lacks a class; names are tuples in some data sets; parts have the names of the whole."""
    train = name_classes(Made(), "cat", "dog", "fox")
    test = name_classes(Made(labels=[0, 1] * 3), "cat", "fox")
    cl.seal({"train": train, "test": test}, tmp_path / "set", IDENTITY, KEY)
    assert cl.SealedDataset.open(tmp_path / "set").spec.classes == ("cat", "dog", "fox")
    assert open_sealed(tmp_path / "set", "test").labels.tolist() == [0, 2] * 3
    assert open_sealed(tmp_path / "set", "train").labels.tolist() == LABELS
    with pytest.raises(cl.CipherlensError, match="does not name its classes"):
        cl.seal({"train": train, "test": Made()}, tmp_path / "no", IDENTITY, KEY)
    tuples = name_classes(Made(), ("tench", "Tinca"), ("dog",), ("fox",))
    whole = torch.utils.data.ConcatDataset([torch.utils.data.Subset(tuples, [5, 4]), tuples])
    cl.seal(whole, tmp_path / "parts", IDENTITY, KEY, SealOptions(hold_out=0))
    assert cl.SealedDataset.open(tmp_path / "parts").spec.classes == ("tench, Tinca", "dog", "fox")
    assert open_sealed(tmp_path / "parts", "all").labels.tolist() == [2, 1, *LABELS]


def test_names_of_another_task_are_not_those_of_masks(tmp_path: Path) -> None:
    masked = name_classes(Made(labels=[PIXELS[i, :1] % 3 for i in range(12)]), "beagle", "boxer", "pug")
    with pytest.raises(cl.CipherlensError, match="names the classes"):
        cl.seal(masked, tmp_path / "set", IDENTITY, KEY)
    cl.seal(cl.data.from_python(masked, ["sky", "road", "car"]), tmp_path / "set", IDENTITY, KEY)
    assert np.array_equal(open_sealed(tmp_path / "set", "all").masks, PIXELS[:, 0] % 3)


def test_what_has_changed_is_noticed(tmp_path: Path) -> None:
    """Masks, and files behind paths, as well as images."""
    path = tmp_path / "one.png"
    Image.fromarray(PIXELS[0].transpose(1, 2, 0)).save(path)
    options, masks = SealOptions(hold_out=0), [PIXELS[i, 0] % 3 for i in range(12)]
    for number, (first, change) in enumerate(
        (
            (Made(lambda rows: path), lambda made: Image.fromarray(PIXELS[1].transpose(1, 2, 0)).save(path)),
            (Made(labels=masks), lambda made: made.labelled.__setitem__(3, masks[4])),
        )
    ):
        source = (lambda made=first: cl.data.from_python(made, ["a", "b", "c"]),)[0]
        cl.seal(source(), tmp_path / str(number), IDENTITY, KEY, options)
        change(first)
        with pytest.raises(cl.CipherlensError, match="another source"):
            cl.seal(source(), tmp_path / str(number), IDENTITY, KEY, options)


def test_a_broken_sample_can_be_skipped(tmp_path: Path) -> None:
    broken = Broken()
    broken.targets = LABELS  # type: ignore[attr-defined]
    options = SealOptions(hold_out=0, on_error="skip")
    done = cl.seal(broken, tmp_path / "set", IDENTITY, KEY, options)
    assert [name for name, _ in done.skipped] == ["all image 7"] and "torn file" in done.skipped[0][1]
    assert open_sealed(tmp_path / "set", "all").index.tolist() == [i for i in range(12) if i != 7]


def test_grey_has_three_channels_in_every_form(tmp_path: Path) -> None:
    forms: list[Callable[[np.ndarray], Any]] = [
        lambda rows: rows[:, :, 0],
        lambda rows: rows[:, :, :1],
        lambda rows: torch.from_numpy(rows[:, :, 0].copy())[None],
        lambda rows: Image.fromarray(rows[:, :, 0]),
    ]
    for number, form in enumerate(forms):
        cl.seal(Made(form), tmp_path / str(number), IDENTITY, KEY, SealOptions(hold_out=0))
        assert np.array_equal(decrypt(tmp_path / str(number), "all"), PIXELS[:, :1].repeat(3, axis=1))


def test_orientation_is_that_of_files_alone(tmp_path: Path) -> None:
    """A file is turned upright; what a program has made of it is as it shows it."""
    path, exif = tmp_path / "photo.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS[0].transpose(1, 2, 0)).resize((16, 32)).save(path, exif=exif)
    for name, take, shape in (
        ("file", lambda: path, (16, 32)),
        ("opened", lambda: Image.open(path), (16, 32)),
        ("made", lambda: Image.open(path).convert("RGB"), (32, 16)),
    ):
        cl.seal([(take(), 0)] * 2, tmp_path / name, IDENTITY, KEY)
        assert decrypt(tmp_path / name, "all").shape[2:] == shape


def test_what_hugging_face_would_change_is_refused(hugging_face: datasets.DatasetDict, tmp_path: Path) -> None:
    train = hugging_face["train"]
    with pytest.raises(cl.CipherlensError, match="has a transform"):
        cl.seal(train.with_transform(lambda rows: rows), tmp_path / "set", IDENTITY, KEY)
    with pytest.raises(cl.CipherlensError, match="mode L"):
        cl.seal(train.cast_column("image", datasets.Image(mode="L")), tmp_path / "set", IDENTITY, KEY)
    with pytest.raises(cl.CipherlensError, match="map-style"):
        cl.seal(train.to_iterable_dataset(), tmp_path / "set", IDENTITY, KEY)


def test_layouts_of_repositories(hugging_face: datasets.DatasetDict, tmp_path: Path) -> None:
    """Other names of columns, by habit or by option; splits as folders."""
    train = (
        hugging_face["train"].rename_columns({"image": "img", "label": "kind"}).add_column("labels", LABELS[::-1])
    )
    for split, rows in (("train", train), ("test", train.select(range(4)))):
        (tmp_path / "hub" / split).mkdir(parents=True)
        rows.to_parquet(tmp_path / "hub" / split / "0000.parquet")
    found = open_source(f"hf:{tmp_path / 'hub'}")
    assert found.splits == {"train": 12, "test": 4}
    assert found.read_labels("train").tolist() == LABELS[::-1]
    asked = open_source(f"hf:{tmp_path / 'hub'}?label=kind")
    assert (asked.read_labels("train").tolist(), asked.classes) == (LABELS, ("a", "b", "c"))
    assert np.array_equal(asked.read("test", [2])[0].decode(), PIXELS[2])
    with pytest.raises(cl.CipherlensError, match="column"):
        open_source(f"hf:{tmp_path / 'hub'}?label=nosuch")
