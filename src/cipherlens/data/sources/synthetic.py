"""The project's own generated images as a source."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.images import Item
from cipherlens.data.sources.checks import FileFacts


class SyntheticSource:
    """The project's own generated images (see :mod:`cipherlens.data.synthetic`)."""

    files: tuple[FileFacts, ...] = ()

    def __init__(self, name: str) -> None:
        from cipherlens.data.synthetic import dataset as synthetic

        self._spec = synthetic.parse_name(name)
        self.masked = self._spec.masks
        self.classes = ("background", *synthetic.CLASSES) if self.masked else synthetic.CLASSES
        self.splits = dict(self._spec.splits)

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The images at these positions, generated on the spot."""
        from cipherlens.data.synthetic import dataset as synthetic

        positions = self._spec.indices(split)[np.asarray(indices, np.int64)]
        batch = synthetic.generate(positions, size=self._spec.size, seed=self._spec.seed)
        return [
            Item(f"{split} image {i}", int(label), image, mask if self.masked else None)
            for i, label, image, mask in zip(indices, batch.labels, batch.images, batch.masks, strict=True)
        ]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split, without making the images."""
        from cipherlens.data.synthetic.scene import draw_labels

        return draw_labels(self._spec.seed, self._spec.indices(split))
