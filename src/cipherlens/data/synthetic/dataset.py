"""The synthetic data set: ten shapes in cluttered scenes with the statistics of natural images.

It needs no download and no disk. Every image is a pure function of (seed, index, size), so workers can generate
slices. On one machine the images are equal bit for bit. Another processor or NumPy build may round a few pixels to
the neighbouring value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cipherlens.data.synthetic.render import render
from cipherlens.data.synthetic.scene import draw_labels, draw_scene, draw_white
from cipherlens.data.synthetic.shapes import SHAPES
from cipherlens.errors import UsageError, unknown_name

CLASSES: tuple[str, ...] = tuple(SHAPES)

_PIXELS_AT_ONCE = 1 << 15  # a chunk of images whose sixteen leaves stay in the processor's cache
_SPLIT_STRIDE = 1 << 40  # each split has its own index range, longer than any data set
_SMALLEST = 16
"""Smallest side of an image in pixels. Chosen by hand."""


@dataclass(frozen=True)
class SyntheticBatch:
    """N images: ``images`` uint8 (N, 3, size, size), ``labels`` int64 (N,), ``masks`` uint8 (N, size, size).

    A mask is 0 on the background and label + 1 on the visible part of the object.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    masks: NDArray[np.uint8]


@dataclass(frozen=True)
class SyntheticSpec:
    """A synthetic data set: image ``size``, images per split, ``seed``, and whether it has ``masks``."""

    size: int
    splits: Mapping[str, int]
    seed: int = 0
    masks: bool = False

    def indices(self, split: str) -> NDArray[np.int64]:
        """Indices of the images of ``split``, disjoint from every other split's.

        Raises:
            UsageError: if there is no such split.
        """
        if split not in self.splits:
            raise unknown_name("split", split, list(self.splits))
        start = list(self.splits).index(split) * _SPLIT_STRIDE
        return np.arange(start, start + self.splits[split], dtype=np.int64)


def _spec(size: int, train: int, test: int) -> SyntheticSpec:
    return SyntheticSpec(size, MappingProxyType({"train": train, "test": test}))


NAMES: dict[str, SyntheticSpec] = {
    "tiny": _spec(32, 400, 200),
    "objects": _spec(32, 6000, 1000),
    "objects-64": _spec(64, 6000, 1000),
    "objects-224": _spec(224, 800, 200),
}
_OPTIONS = {"n": 1, "test": 1, "size": _SMALLEST, "seed": 0, "masks": 0}  # each with its smallest value


def parse_name(name: str) -> SyntheticSpec:
    """Data set of a name such as ``objects`` or ``objects?n=500&size=64&seed=3``.

    Options: ``n`` training images (and n // 5 test images), ``test`` test images, ``size``, ``seed``, ``masks`` (1:
    for segmentation).

    Raises:
        UsageError: for an unknown name or option, or a value that is no whole number or too small.
    """
    base, _, query = name.partition("?")
    if base not in NAMES:
        raise unknown_name("synthetic data set", base, list(NAMES))
    options = _parse_options(query)
    spec = NAMES[base]
    train = options.get("n", spec.splits["train"])
    test = options.get("test", max(1, train // 5) if "n" in options else spec.splits["test"])
    sized = _spec(options.get("size", spec.size), train, test)
    return replace(sized, seed=options.get("seed", spec.seed), masks=bool(options.get("masks", 0)))


def _parse_options(query: str) -> dict[str, int]:
    options: dict[str, int] = {}
    for option, text in parse_qsl(query, keep_blank_values=True):
        if option not in _OPTIONS:
            raise unknown_name("option of a synthetic data set", option, list(_OPTIONS))
        if not (text.isascii() and text.isdigit() and _OPTIONS[option] <= int(text) < _SPLIT_STRIDE):
            raise UsageError(
                f"synthetic data set option {option}={text!r} is not possible",
                hint=f"give a whole number of at least {_OPTIONS[option]}, for example objects?n=500&size=64",
            )
        options[option] = int(text)
    return options


def generate(indices: ArrayLike, size: int = 32, seed: int = 0) -> SyntheticBatch:
    """Make the images ``indices`` (N,) of the data set ``seed``, each ``size`` pixels square.

    An image does not depend on the other indices of the call.

    Raises:
        UsageError: if an index is negative or no integer, ``size`` is below 16 or ``seed`` negative.
    """
    wanted = _check_request(np.atleast_1d(np.asarray(indices)), size, seed)
    batch = SyntheticBatch(
        images=np.empty((len(wanted), 3, size, size), np.uint8),
        labels=draw_labels(seed, wanted),
        masks=np.empty((len(wanted), size, size), np.uint8),
    )
    chunk = max(1, _PIXELS_AT_ONCE // size**2)
    for start in range(0, len(wanted), chunk):
        part = slice(start, start + chunk)
        scene, white = draw_scene(seed, wanted[part], size), draw_white(seed, wanted[part], size)
        batch.images[part], batch.masks[part] = render(scene, batch.labels[part], white, size)
    return batch


def _check_request(indices: NDArray[np.generic], size: int, seed: int) -> NDArray[np.int64]:
    if indices.ndim != 1 or (indices.size and not np.issubdtype(indices.dtype, np.integer)):
        raise UsageError("indices must be a flat list of integers", hint="for example range(100)")
    wanted = indices.astype(np.int64)
    if wanted.size and wanted.min() < 0:
        raise UsageError(f"index {wanted.min()} is negative", hint="count images from 0")
    if size < _SMALLEST or not 0 <= seed < 2**64:
        raise UsageError(
            f"no synthetic images of size {size} with seed {seed}",
            hint=f"size must be at least {_SMALLEST} and seed a non-negative integer below 2**64",
        )
    return wanted
