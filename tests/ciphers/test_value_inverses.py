"""Maps of schemes on bytes: saved and loaded, equal to slow loops, refused where their file does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.estimated_inverse import EstimatedInverse, Target
from cipherlens.ciphers.structure import Shape, index_blocks
from cipherlens.ciphers.value_inverses import (
    UNKNOWN,
    ModularInverse,
    TableInverse,
    ValueInverse,
    from_flat_blocks,
)
from cipherlens.errors import DataError, ShapeError
from cipherlens.keys import Key

SHAPE = (2, 4, 8)
TARGET = Target("np", {"block": 4}, "0" * 32)


def draw_images(count: int = 3, shape: Shape = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def make_values(halves: bool, seed: int = 0) -> ValueInverse:
    rng, count = np.random.default_rng(seed), 64 * (2 if halves else 1)
    source = rng.permutation(count)
    source[:3] = UNKNOWN
    inverted = rng.random(count) < 0.5
    return ValueInverse(shape=SHAPE, plain_shape=SHAPE, source=source, inverted=inverted, halves=halves, fill=0.4)


def make_all() -> dict[str, EstimatedInverse]:
    rng = np.random.default_rng(1)
    return {
        "values": make_values(False),
        "half bytes": make_values(True),
        "table": TableInverse(
            shape=SHAPE, block=4, chosen=rng.random(32) < 0.5, table=rng.permutation(256).astype(np.uint8)
        ),
        "modular": ModularInverse(shape=SHAPE, block=4, matrices=rng.integers(0, 256, (2, 16, 16), dtype=np.uint8)),
        "flat blocks": from_flat_blocks(SHAPE, 4, rng.normal(size=(32, 32)), rng.normal(size=32)),
    }


@pytest.mark.parametrize("name", make_all())
def test_what_is_saved_is_loaded(name: str, tmp_path: Path) -> None:
    inverse, ct = make_all()[name], draw_images()
    inverse.save(tmp_path / "map.safetensors", TARGET)
    again = EstimatedInverse.load(tmp_path / "map.safetensors")
    assert type(again) is type(inverse)
    assert again.target == TARGET
    assert np.array_equal(again.apply(ct), inverse.apply(ct))
    assert (tmp_path / "map.safetensors").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ShapeError):
        again.apply(draw_images(1, (2, 8, 8)))


@given(seed=st.integers(0, 2**32 - 1), halves=st.booleans())
@settings(max_examples=30, deadline=None)
def test_values_equal_a_slow_loop(seed: int, halves: bool) -> None:
    inverse, ct = make_values(halves, seed), draw_images(2, seed=seed)
    found = np.rint(255 * inverse.apply(ct)).astype(int)
    for image, picture in zip(ct, found, strict=True):
        values = image.ravel().astype(int)
        units = np.concatenate([values % 16, values // 16]) if halves else values
        top = 15 if halves else 255
        wanted = [
            round(top * 0.4) if place == UNKNOWN else (top - units[place] if flip else units[place])
            for place, flip in zip(inverse.source, inverse.inverted, strict=True)
        ]
        whole = [low + 16 * high for low, high in zip(wanted[:64], wanted[64:], strict=True)] if halves else wanted
        assert picture.ravel().tolist() == whole


def test_table_and_matrices_equal_a_slow_loop() -> None:
    made, ct = make_all(), draw_images()
    table, modular = made["table"], made["modular"]
    places = index_blocks(SHAPE, 4)
    wanted = ct.reshape(3, -1).copy()
    for block in places:
        for place, chosen in zip(block, table.chosen, strict=True):
            if chosen:
                wanted[:, place] = table.table[wanted[:, place]]
    assert np.array_equal(np.rint(255 * table.apply(ct)).reshape(3, -1), wanted)
    found = np.rint(255 * modular.apply(ct))
    block = ct[1, 1, :, 4:].astype(np.int64).ravel() @ modular.matrices[1].astype(np.int64) % 256
    assert np.array_equal(found[1, 1, :, 4:].ravel(), block)


def test_flat_blocks_are_those_of_a_patch_cipher() -> None:
    bound = create_cipher("patch", block=4, orthogonal=True).bind(Key(bytes(32)), SHAPE)
    plain = draw_images(40)
    ct, places = bound.encrypt(plain), index_blocks(SHAPE, 4)
    pairs = [images.reshape(40, -1)[:, places].reshape(-1, 32) for images in (ct, plain / 255)]
    inverse = from_flat_blocks(SHAPE, 4, np.linalg.lstsq(*pairs, rcond=None)[0])
    assert np.array_equal(np.rint(255 * inverse.apply(ct)), plain)


FAULTS = [
    ("values", {"source": np.arange(63)}),
    ("values", {"source": np.full(64, 64)}),
    ("values", {"source": np.full(64, -2)}),
    ("table", {"chosen": np.zeros(31, bool)}),
    ("table", {"table": np.zeros(255, np.uint8)}),
    ("table", {"block": 3}),
    ("modular", {"matrices": np.zeros((2, 9, 9), np.uint8)}),
    ("modular", {"block": 5}),
]


@pytest.mark.parametrize(("name", "changes"), FAULTS)
def test_a_file_that_does_not_fit_is_refused(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    inverse = make_all()[name]
    type(inverse)(**{**vars(inverse), **changes}).save(tmp_path / "map.safetensors", TARGET)
    with pytest.raises(DataError, match="holds no map"):
        EstimatedInverse.load(tmp_path / "map.safetensors")
