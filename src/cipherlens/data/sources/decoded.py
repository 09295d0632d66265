"""A split of a source as plain images of one shape, for training without a cipher."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.conversion import REMARKS, Pixels
from cipherlens.data.images import Preprocess, check_shape
from cipherlens.data.sources.base import Source, require_split


class DecodedSplit:
    """Images (N, C, H, W) uint8 of a split, decoded when they are read; all have the shape of the first.

    Raises DataError for an image that cannot be decoded, ShapeError for one of another shape.
    """

    dtype = "uint8"

    def __init__(self, source: Source, split: str, preprocess: Preprocess) -> None:
        require_split(source, split)
        self._source, self._split, self._preprocess = source, split, preprocess
        self.classes = source.classes
        self.labels: NDArray[np.int64] = source.read_labels(split)
        channels, height, width = preprocess.apply(source.read(split, [0])[0]).shape
        self.shape = (channels, height, width)

        self._heard: dict[str, set[str]] = {}

    @property
    def remarks(self) -> dict[str, int]:
        """How many of the images that were read a rule has changed."""
        return {remark: len(names) for remark, names in self._heard.items() if remark in REMARKS}

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: NDArray[np.int64]) -> Pixels:
        """Images (n, C, H, W) at ``indices`` (n,)."""
        images = []
        for item in self._source.read(self._split, indices.tolist()):
            pixels = self._preprocess.apply(item, partial(self._hear, item.name))
            check_shape(pixels, self.shape, item.name)
            images.append(pixels)
        return np.stack(images)

    def _hear(self, name: str, remark: str) -> None:
        self._heard.setdefault(remark, set()).add(name)
