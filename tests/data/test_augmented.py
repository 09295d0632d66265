"""Variants made before encryption, and masks of sources."""

import io
import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cipherlens.ciphers import create_cipher
from cipherlens.data.images import Item, Preprocess, draw_variant
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.job import plan_job
from cipherlens.data.sealed.journal import Journal
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sources.augmented import augment
from cipherlens.data.sources.registry import open_source
from cipherlens.data.storage.opening import open_storage
from cipherlens.errors import DataError, UsageError
from cipherlens.evaluation.load import load_target


def test_variants_are_mirrored_and_shifted_pictures():
    image = np.random.default_rng(0).integers(0, 256, (3, 16, 24), dtype=np.uint8)
    assert (draw_variant(image, (0, 5)) == image).all()
    variants = [draw_variant(image, (1, number)) for number in range(40)]
    assert all(variant.shape == image.shape for variant in variants)
    inner = image[:, 4:12, 6:18]
    found = 0
    for variant in variants:
        places = [(d, e) for d in range(0, 9) for e in range(0, 13)]
        for candidate in (inner, inner[:, :, ::-1]):
            found += any((variant[:, d : d + 8, e : e + 12] == candidate).all() for d, e in places)
    assert found == 40  # each holds the middle, in one of both directions
    assert (draw_variant(image, (1, 3)) == draw_variant(image, (1, 3))).all()
    assert any((draw_variant(image, (1, n)) != draw_variant(image, (2, n))).any() for n in range(5))


def test_an_augmented_data_set_holds_the_images_and_their_variants(folder, tmp_path, key):
    cipher = create_cipher("pixel-permutation")
    seal(str(folder), tmp_path / "sealed", cipher, key, SealOptions(augment=2, workers=2))
    dataset = SealedDataset.open(tmp_path / "sealed", key)
    assert dataset.splits == {"train": 36, "test": 6}
    split = dataset.split("train")
    images = cipher.bind(key, dataset.spec.padded_shape).decrypt(split.read_all())
    assert (split.labels[:12] == split.labels[12:24]).all()
    assert (split.labels[:12] == split.labels[24:]).all()
    source = open_source(str(folder))
    originals = np.stack([item.decode() for item in source.read("train", range(12))])
    assert (images[:12] == originals).all()
    for copy in (1, 2):
        expected = [draw_variant(image, (copy, number)) for number, image in enumerate(originals)]
        assert (images[12 * copy : 12 * (copy + 1)] == np.stack(expected)).all()
    # The auditor's truth is what was encrypted, variants included.
    assert (load_target(dataset, str(folder), "train").plain == images).all()


def test_a_limit_counts_images_and_adds_their_variants(folder, tmp_path, key):
    cipher = create_cipher("identity")
    seal(str(folder), tmp_path / "sealed", cipher, key, SealOptions(augment=2, limit=4))
    split = SealedDataset.open(tmp_path / "sealed").split("train")
    assert split.index.tolist() == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33]


def test_the_prior_holds_no_variant_of_an_attacked_image(folder, tmp_path, key):
    only = tmp_path / "only"
    for number in range(40):
        place = only / "train" / "cat"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 6 * number, np.uint8)).save(place / f"{number:02}.png")
    seal(str(only), tmp_path / "s", create_cipher("identity"), key, SealOptions(augment=1, limit=15))
    target = load_target(SealedDataset.open(tmp_path / "s"), str(only))
    attacked = set(np.unique(target.plain).tolist())
    assert target.public is not None
    assert not attacked & set(np.unique(target.public).tolist())


def test_masks_follow_their_variants():
    source = augment(open_source("synthetic:tiny?n=20&size=32&masks=1"), 1)
    for item in source.read("train", range(20, 40)):
        image, mask = Preprocess().apply(item), Preprocess().apply_to_mask(item)
        original = Item(item.name, item.label, item.content, item.mask)
        expected = draw_variant(np.concatenate([original.decode(), original.decode_mask()]), item.variant)
        assert (np.concatenate([image, mask]) == expected).all()


def test_only_a_training_split_is_augmented(folder, tmp_path, key):
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(flat / "a.png")
    with pytest.raises(UsageError, match="train"):
        augment(open_source(str(flat)), 1)
    with pytest.raises(UsageError, match="variants"):
        SealOptions(augment=-1)


def encode(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": "x.png"}


def write_masked(path, masks, classes=("sky", "road", "unlabelled"), ignored=b"2"):
    image = encode(np.zeros((8, 8, 3), np.uint8))
    rows = {"image": [image] * len(masks), "mask": masks}
    metadata = {b"classes": json.dumps(classes).encode(), b"ignore_index": ignored} if classes else {}
    pq.write_table(pa.table(rows).replace_schema_metadata(metadata), path)


def test_parquet_masks_have_named_classes_and_holes(tmp_path):
    mask = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
    write_masked(tmp_path / "train-0.parquet", [encode(mask)])
    source = open_source(str(tmp_path))
    assert (source.masked, source.classes) == (True, ("sky", "road"))
    found = source.read("train", [0])[0].decode_mask()[0]
    assert (found == np.where(mask == 2, 255, mask)).all()


def test_bad_masks_are_named_and_can_be_skipped(tmp_path, key):
    good = encode(np.zeros((8, 8), np.uint8))
    bad = [
        {"bytes": b"no picture", "path": ""},
        encode(np.zeros((8, 8, 3), np.uint8)),
        encode(np.zeros((8, 9), np.uint8)),
    ]
    write_masked(tmp_path / "train-0.parquet", [good, *bad])
    cipher = create_cipher("pixel-permutation")
    with pytest.raises(DataError, match="mask of train image 1"):
        seal(str(tmp_path), tmp_path / "a", cipher, key)
    report = seal(str(tmp_path), tmp_path / "b", cipher, key, SealOptions(on_error="skip"))
    assert (report.images, report.skipped_images) == (1, 3)
    write_masked(tmp_path / "train-0.parquet", [good], classes=None)
    with pytest.raises(DataError, match="does not name the classes"):
        open_source(str(tmp_path))
    write_masked(tmp_path / "train-0.parquet", [good], ignored=b"none")
    with pytest.raises(DataError, match="ignore_index is not JSON"):
        open_source(str(tmp_path))


def test_masks_of_unknown_classes_or_another_size_are_refused(tmp_path, key):
    cipher = create_cipher("identity")
    write_masked(tmp_path / "train-0.parquet", [encode(np.full((8, 8), 7, np.uint8))])
    with pytest.raises(DataError, match="class 7"):
        seal(str(tmp_path), tmp_path / "a", cipher, key)
    (tmp_path / "other").mkdir()
    write_masked(tmp_path / "other" / "train-0.parquet", [encode(np.zeros((4, 8), np.uint8))])
    with pytest.raises(DataError, match="the image is 8x8"):
        seal(str(tmp_path / "other"), tmp_path / "b", cipher, key, SealOptions(Preprocess(size=8)))


def test_a_job_begun_before_a_setting_existed_goes_on(folder, tmp_path, key):
    cipher = create_cipher("identity")
    stop = SealOptions(limit=4)
    spec = plan_job(str(folder), cipher, key, stop).spec
    out = tmp_path / "sealed"
    (out / "shards").mkdir(parents=True)
    old = {name: value for name, value in asdict(spec).items() if name not in ("masked", "augment")}
    Journal(open_storage(out), key)._append({"plan": old})
    assert seal(str(folder), out, cipher, key, stop).images == 8
