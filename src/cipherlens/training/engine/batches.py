"""Images for the training loop: the protocol of an image set, and its batches."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cipherlens.data.images import IGNORED
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.statistics import Statistics
from cipherlens.errors import DataError, ShapeError

READ_CHUNK = 1024
"""Images that are read at a time when a whole set is read. A limit on memory."""
_SAMPLED = 256
"""Images of which statistics are measured. Chosen by hand."""
READ_AHEAD = 2
"""Batches that are read ahead of training. Chosen by hand."""

Inputs = Tensor | tuple[Tensor, Tensor]
"""Images (n, C, H, W), for a set of several owners together with the owners' numbers (n,)."""


class ImageSet(Protocol):
    """Labelled images of one shape, read by index; uint8 stands for x / 255."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class indices (N,)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of their indices."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of every image."""

    @property
    def dtype(self) -> str:
        """Either ``uint8`` or ``float32``."""

    def __len__(self) -> int: ...

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Images (n, C, H, W) at ``indices`` (n,)."""


def read_targets(images: ImageSet) -> NDArray[np.int64] | NDArray[np.uint8]:
    """Training targets: labels (N,), or masks (N, H, W) where the set has an attribute ``masks``.

    Pixels of value 255 in a mask are ignored.
    """
    masks: NDArray[np.uint8] | None = getattr(images, "masks", None)
    return images.labels if masks is None else masks


def has_masks(images: ImageSet) -> bool:
    """Whether a set is for segmentation."""
    return getattr(images, "masks", None) is not None


def check_image_set(images: ImageSet, role: str) -> None:
    """Raise DataError where an image set (``role``: training, test) is inconsistent or empty."""
    labels = images.labels
    if not len(images):
        raise DataError(f"the {role} set holds no images")
    if images.dtype not in ("uint8", "float32"):
        raise DataError(f"the {role} set has dtype {images.dtype}", hint="uint8 and float32 are supported")
    if labels.shape != (len(images),):
        raise DataError(f"the {role} set has {len(images)} images but labels of shape {labels.shape}")
    if has_masks(images):
        _check_masks(images, role)
    elif labels.min() < 0 or labels.max() >= len(images.classes):
        raise DataError(f"the {role} set has labels outside its {len(images.classes)} classes")


def _check_masks(images: ImageSet, role: str) -> None:
    masks = read_targets(images)
    if masks.shape != (len(images), *images.shape[1:]):
        raise DataError(f"the {role} set has masks of shape {masks.shape} for images {tuple(images.shape)}")
    if np.setdiff1d(np.unique(masks), [IGNORED]).max(initial=0) >= len(images.classes):
        raise DataError(f"the {role} set has masks with classes outside its {len(images.classes)}")


def check_same_kind(images: ImageSet, classes: tuple[str, ...], shape: tuple[int, int, int], what: str) -> None:
    """Raise ShapeError or DataError unless the set has the classes and the shape of ``what``."""
    if tuple(images.shape) != tuple(shape):
        raise ShapeError(f"images have shape {tuple(images.shape)}, but {what} has {tuple(shape)} (C, H, W)")
    if tuple(images.classes) != tuple(classes):
        raise DataError(
            f"the set's {len(images.classes)} classes are not the {len(classes)} of {what}",
            hint="use a set with the same class names in the same order",
        )


def read_images(images: ImageSet, indices: NDArray[np.int64]) -> Tensor:
    """Images (n, C, H, W) as a tensor on the CPU, checked against the set's shape and dtype."""
    array = np.ascontiguousarray(images.read(indices))
    expected = (len(indices), *images.shape)
    if array.shape != expected or array.dtype != np.dtype(images.dtype):
        raise ShapeError(
            f"the image set gave {array.dtype} {array.shape} where {images.dtype} {expected} was announced",
            hint="the sealed data is damaged: check it or encrypt it again",
        )
    return torch.from_numpy(array)


def read_chunks(images: ImageSet) -> Iterator[Tensor]:
    """The whole set in order, in chunks (n <= 1024, C, H, W)."""
    for start in range(0, len(images), READ_CHUNK):
        yield read_images(images, np.arange(start, min(start + READ_CHUNK, len(images))))


def sample_statistics(images: ImageSet) -> Statistics:
    """The statistics of some images, evenly chosen."""
    return Statistics.of(read_images(images, pick_evenly(len(images), _SAMPLED)).numpy())


class ImageBatches:
    """Batches of an image set on a device: from one resident tensor if it fits ``budget`` bytes, else read ahead.

    One background thread reads ahead, so that reading overlaps with training.
    """

    def __init__(self, images: ImageSet, device: torch.device, budget: int) -> None:
        self.images = images
        self.device = device
        self.targets = torch.from_numpy(np.ascontiguousarray(read_targets(images))).to(device)
        owners: NDArray[np.int64] | None = getattr(images, "owners", None)
        self.owners = None if owners is None else torch.from_numpy(owners).to(device)
        self.nbytes = len(images) * int(np.prod(images.shape)) * np.dtype(images.dtype).itemsize
        self.resident = self._load() if self.nbytes <= budget else None

    def _load(self) -> Tensor:
        dtype = torch.uint8 if self.images.dtype == "uint8" else torch.float32
        resident = torch.empty((len(self.images), *self.images.shape), dtype=dtype, device=self.device)
        start = 0
        for chunk in read_chunks(self.images):
            resident[start : start + len(chunk)] = chunk
            start += len(chunk)
        return resident

    def iterate(self, plan: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Inputs, Tensor]]:
        """For each index array of ``plan``: images (n, C, H, W) in the set's dtype, targets int64."""
        for indices, images in zip(plan, self._gather(plan), strict=True):
            chosen = torch.from_numpy(indices).to(self.device)
            inputs = images if self.owners is None else (images, self.owners[chosen])
            yield inputs, self.targets[chosen].long()

    def _gather(self, plan: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
        if self.resident is not None:
            for indices in plan:
                yield self.resident[torch.from_numpy(indices).to(self.device)]
            return
        with ThreadPoolExecutor(1) as reader:
            pending = deque(reader.submit(read_images, self.images, batch) for batch in plan[:READ_AHEAD])
            for following in range(READ_AHEAD, len(plan) + READ_AHEAD):
                if not pending:
                    return
                images = pending.popleft().result()
                if following < len(plan):
                    pending.append(reader.submit(read_images, self.images, plan[following]))
                yield images.to(self.device)


def split_batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Cut ``order`` (N,) into the fewest batches of at most ``batch_size``, of nearly equal sizes.

    Every image is used, and there is no small last batch, which would disturb batch normalisation.
    """
    return np.array_split(order, -(-len(order) // batch_size))
