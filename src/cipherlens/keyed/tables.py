"""Index tables for operators under a permutation, all computed at once with NumPy.

An order (H*W,) describes a stored feature map: ``stored[..., i] = true[..., order[i]]`` on flattened positions, as
for ``pixel-permutation``. ``None`` is the true order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.rearrangement import invert_order
from cipherlens.ciphers.structure import Order

OUTSIDE = -1
"""Index of a tap in zero padding. Definition."""


@dataclass(frozen=True)
class Geometry:
    """Geometry of the windows of a convolution or pooling: kernel, stride and dilation per axis, padding per edge.

    ``padding`` is (top, left, bottom, right); with ``reflect`` it is a reflection instead of zeros.
    """

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    reflect: bool = False

    @property
    def output(self) -> tuple[int, int]:
        """Sides (H, W) of the result."""
        height, width = (
            (side + self.padding[axis] + self.padding[axis + 2] - (kernel - 1) * dilation - 1) // stride + 1
            for axis, (side, kernel, stride, dilation) in enumerate(
                zip(self.size, self.kernel, self.stride, self.dilation, strict=True)
            )
        )
        return height, width

    @property
    def disjoint(self) -> bool:
        """Whether no pixel lies in two windows and every window lies in the image."""
        reach = ((kernel - 1) * dilation + 1 for kernel, dilation in zip(self.kernel, self.dilation, strict=True))
        return not any(self.padding) and all(r <= stride for r, stride in zip(reach, self.stride, strict=True))


def compose(source: Order | None, target: Order | None, count: int) -> Order | None:
    """Index (count,) that turns a map stored in ``source`` order into ``target`` order; None if they are equal."""
    if source is target:
        return None
    wanted = np.arange(count) if target is None else target
    index = wanted if source is None else invert_order(source)[wanted]
    return None if np.array_equal(index, np.arange(count)) else index


def window_index(geometry: Geometry, source: Order | None, target: Order | None) -> Order:
    """The stored input position of each tap of each stored output position: (H_out*W_out, taps).

    Taps are row-major. ``OUTSIDE`` marks taps in zero padding.
    """
    rows, columns = (_axis_index(geometry, axis) for axis in (0, 1))
    outside = (rows[:, None, :, None] < 0) | (columns[None, :, None, :] < 0)
    true = rows[:, None, :, None] * geometry.size[1] + columns[None, :, None, :]
    taps = np.where(outside, OUTSIDE, true).reshape(rows.shape[0] * columns.shape[0], -1)
    if target is not None:
        taps = taps[target]
    return taps if source is None else np.where(taps < 0, OUTSIDE, invert_order(source)[taps])


def _axis_index(geometry: Geometry, axis: int) -> Order:
    """The row (or column) of each tap of each output row: (outputs, taps)."""
    side, before = geometry.size[axis], geometry.padding[axis]
    starts = np.arange(geometry.output[axis]) * geometry.stride[axis] - before
    places = starts[:, None] + np.arange(geometry.kernel[axis]) * geometry.dilation[axis]
    if geometry.reflect:
        mirrored: Order = (side - 1) - np.abs((side - 1) - np.abs(places))
        return mirrored
    return np.where((places < 0) | (places >= side), OUTSIDE, places)


def deform_offsets(geometry: Geometry, source: Order | None, target: Order | None) -> NDArray[np.float32]:
    """Offsets (2 * taps, H_out, W_out) with which torchvision's deform_conv2d reads those taps (PrivDL, section 3).

    Taps in zero padding point outside the image, where deform_conv2d reads zero.
    """
    height, width = geometry.output
    index = window_index(geometry, source, target).reshape(height, width, *geometry.kernel)
    far = -2 - max(geometry.padding)
    found = [np.where(index < 0, far, part) for part in (index // geometry.size[1], index % geometry.size[1])]
    grid = np.ogrid[:height, :width, : geometry.kernel[0], : geometry.kernel[1]]
    offsets = [
        place
        - (grid[axis] * geometry.stride[axis] - geometry.padding[axis] + grid[axis + 2] * geometry.dilation[axis])
        for axis, place in enumerate(found)
    ]
    stacked = np.stack(offsets).transpose(3, 4, 0, 1, 2)
    return np.ascontiguousarray(stacked.reshape(-1, height, width), dtype=np.float32)
