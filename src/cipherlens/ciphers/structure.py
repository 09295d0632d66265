"""What everybody may know of a scheme: which values change places with which, and how often the same secret acts.

Most keyed transforms move values and invert some of them. Where they do so alike in every block, or in every
channel, one image shows the same secret many times: these are the samples. Attacks with known or chosen pictures
need no more than this description.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.base import Shape
from cipherlens.ciphers.rearrangement import Order, index_blocks
from cipherlens.errors import UsageError

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """Units of an image (C, H, W) that a scheme exchanges.

    ``places`` (samples, groups, members) are places in the flattened image: in every sample the same secret order
    acts on the members of a group. ``halves``: units are half bytes, first all lower, then all upper ones.
    ``moves``: members change places. ``inverts``: some are inverted.
    """

    places: Order
    halves: bool = False
    moves: bool = True
    inverts: bool = False

    @property
    def top(self) -> int:
        """The largest value of a unit."""
        return 15 if self.halves else 255

    def split(self, images: Bytes) -> Bytes:
        """Images (N, C, H, W) -> units (N * samples, groups, members)."""
        flat = images.reshape(len(images), -1)
        if self.halves:
            flat = np.concatenate([flat & 15, flat >> 4], axis=1)
        return flat[:, self.places].reshape(-1, *self.places.shape[1:])

    def merge(self, units: Bytes, shape: Shape) -> Bytes:
        """Units (N * samples, groups, members) -> images (N, C, H, W): the inverse of :meth:`split`."""
        flat: NDArray[Any] = np.empty((len(units) // len(self.places), self.places.size), np.uint8)
        flat[:, self.places] = units.reshape(-1, *self.places.shape)
        if self.halves:
            low, high = np.split(flat, 2, axis=1)
            flat = low | (high << 4)
        return flat.reshape(-1, *shape)


def find_layout(cipher: str, params: dict[str, Any], shape: Shape) -> Layout:
    """The layout of a scheme for images of ``shape``; UsageError for one that does not merely rearrange."""
    if cipher == "compose":
        return _compose([part["name"] for part in params["ciphers"]], shape)
    if cipher not in _LAYOUTS or (cipher == "patch" and params.get("orthogonal")):
        raise UsageError(f"{cipher} does more than to rearrange values", hint="attack it as a linear cipher")
    return _LAYOUTS[cipher](params, shape)


def _compose(names: list[str], shape: Shape) -> Layout:
    """Of several rearrangements one after the other: any value may go anywhere."""
    unknown = [name for name in names if name not in _LAYOUTS]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} does more than to rearrange values")
    if set(names) <= _STAYING:
        return _LAYOUTS["negpos"]({}, shape)
    return _anywhere(shape, halves=any(name in HALVES for name in names))


def _anywhere(shape: Shape, halves: bool = False, inverts: bool = True) -> Layout:
    count = prod(shape) * (2 if halves else 1)
    return Layout(np.arange(count).reshape(1, 1, -1), halves, inverts=inverts)


def _alike(params: dict[str, Any], shape: Shape) -> Order:
    """(blocks, 1, values of a block): the same in every block."""
    return index_blocks(shape, params["block"])[:, None]


def _le(params: dict[str, Any], shape: Shape) -> Layout:
    low = _alike(params, shape)
    return Layout(np.concatenate([low, low + prod(shape)], axis=2), halves=True, inverts=True)


def _pe(params: dict[str, Any], shape: Shape) -> Layout:
    places = np.arange(prod(shape)).reshape(shape[0], -1).T
    moves = bool(params.get("colour", True))
    return Layout(places[None] if moves else places.reshape(1, -1, 1), moves=moves, inverts=True)


def _patch(params: dict[str, Any], shape: Shape) -> Layout:
    return _anywhere(shape, inverts=False) if params.get("scramble") else Layout(_alike(params, shape))


HALVES = ("le", "ele")
_STAYING = {"negpos", "np"}
_LAYOUTS: dict[str, Callable[[dict[str, Any], Shape], Layout]] = {
    "pixel-permutation": lambda params, shape: Layout(np.arange(prod(shape)).reshape(shape[0], 1, -1)),
    "block-scrambling": lambda params, shape: Layout(index_blocks(shape, params["block"]).T[:, None]),
    "shf": lambda params, shape: Layout(_alike(params, shape)),
    "np": lambda params, shape: Layout(_alike(params, shape).transpose(0, 2, 1), moves=False, inverts=True),
    "negpos": lambda params, shape: Layout(np.arange(prod(shape)).reshape(1, -1, 1), moves=False, inverts=True),
    "pe": _pe,
    "le": _le,
    "ele": lambda params, shape: _anywhere(shape, halves=True),
    "etc": lambda params, shape: _anywhere(shape),
    "patch": _patch,
}
REARRANGEMENTS = tuple(_LAYOUTS)
