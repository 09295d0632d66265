"""Operators between the layers of a locked model: they have no parameters, and hold key tables.

Tables are buffers that no state dict holds. A map is stored under an order (see :mod:`cipherlens.keyed.tables`).
Operators use channels-last maps: a position is one row of channels, and rearranging positions copies whole rows.
"""

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cipherlens.ciphers.rearrangement import invert_order
from cipherlens.ciphers.structure import Order
from cipherlens.errors import ShapeError, UsageError
from cipherlens.keyed.tables import Geometry, deform_offsets, window_index

Pair = tuple[int, int]


def _select(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (N, P, ...) at ``index`` (K,) of their second dimension, as (N * K, ...).

    ``rows.index_select(1, index)`` is slower: PyTorch copies whole rows, on all cores, only along dimension 0.
    """
    starts = torch.arange(0, rows.shape[0] * rows.shape[1], rows.shape[1], device=rows.device)
    return rows.flatten(0, 1).index_select(0, (starts[:, None] + index).reshape(-1))


class _Rearranged(torch.autograd.Function):
    """``_select`` by a bijective index; its gradient is a gather too, not a scattered sum.

    The result is no view, so that the next layer may change it in place.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(index, inverse)
        ctx.shape = rows.shape
        return _select(rows, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        index, inverse = ctx.saved_tensors
        result: Tensor = _Rearranged.apply(gradients[0].reshape(ctx.shape), inverse, index)
        return result.reshape(ctx.shape), None, None


class KeyExportWarning(UserWarning):
    """A locked model is traced, and what is traced holds its key's tables."""


class KeyedOperator(nn.Module):
    """Base of all operators: keeps tables out of state dicts and out of ``repr``."""

    def _keep(self, name: str, table: np.ndarray[Any, Any]) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(table)), persistent=False)

    def __reduce__(self) -> Any:
        raise TypeError("this operator holds key material and cannot be pickled")

    def __deepcopy__(self, memo: dict[int, Any]) -> "KeyedOperator":
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__ = copy.deepcopy(self.__dict__, memo)
        return copied


def _check_use(found: Sequence[int], expected: Pair) -> None:
    """Raise ShapeError for maps of another size."""
    _check_tracing()
    if tuple(found) != expected:
        raise ShapeError(
            f"the model is locked for maps of {expected[0]}x{expected[1]}, not {'x'.join(map(str, found))}",
            hint="give images of the size it was locked for, or lock it again with a cipher bound to this size",
        )


def _check_tracing() -> None:
    """Warn where torch.export writes the tables into a program, and raise UsageError where TorchScript does."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        raise UsageError("a locked model cannot be traced by TorchScript", hint="write it with cl.export")
    if torch.compiler.is_exporting():
        warnings.warn(
            "this program holds the key of a locked model: whoever gets it can decrypt; write it with cl.export, "
            "which asks for consent, and says so in the file",
            KeyExportWarning,
            stacklevel=2,
        )


class Gather(KeyedOperator):
    """Rearrange the positions of maps: ``result[i] = map[index[i]]`` with ``index`` (K,) without repeats.

    ``size`` is the shape (H, W) of the maps, ``shape`` that of the result. ``axes`` are those of height and
    width: (2, 3) for (N, C, H, W), (1, 2) for (N, H, W, C) or (N, H, W).
    """

    index: Tensor
    inverse: Tensor

    def __init__(self, index: Order, size: Pair, shape: Pair | None = None, axes: Pair = (2, 3)) -> None:
        super().__init__()
        self.size, self.shape, self.axes = size, shape or size, axes
        self._keep("index", index)
        self.bijective = len(index) == size[0] * size[1]
        if self.bijective:
            self._keep("inverse", invert_order(index))

    def forward(self, maps: Tensor) -> Tensor:
        """Rearranged maps, channels-last in memory. Raises ShapeError for maps of another size."""
        if self.axes == (2, 3) and maps.ndim == 4:
            return self._rearrange(maps.permute(0, 2, 3, 1), 1).permute(0, 3, 1, 2)
        return self._rearrange(maps, self.axes[0])

    def _rearrange(self, maps: Tensor, dim: int) -> Tensor:
        before, found, after = maps.shape[:dim], maps.shape[dim : dim + 2], maps.shape[dim + 2 :]
        _check_use(found, self.size)
        rows = maps.reshape(math.prod(before), self.size[0] * self.size[1], *after)
        taken = _Rearranged.apply(rows, self.index, self.inverse) if self.bijective else _select(rows, self.index)
        result: Tensor = taken.reshape(*before, *self.shape, *after)
        return result

    def extra_repr(self) -> str:
        """Sizes only, because the table is key material."""
        return f"{self.size} -> {self.shape}"


class _Windows(KeyedOperator):
    """Base for disjoint windows: one gather puts them side by side, in the order of the stored result."""

    def __init__(self, geometry: Geometry, source: Order | None, target: Order | None) -> None:
        super().__init__()
        self.output = geometry.output
        self.taps = geometry.kernel[0] * geometry.kernel[1]
        index = window_index(geometry, source, target)
        self.gather = Gather(index.reshape(-1), geometry.size, (len(index), self.taps))

    def _shape(self, result: Tensor) -> Tensor:
        """(N, C, H_out * W_out, 1) -> (N, C, H_out, W_out), still channels-last."""
        n, channels = result.shape[:2]
        return result.permute(0, 2, 3, 1).reshape(n, *self.output, channels).permute(0, 3, 1, 2)


class WindowConv(_Windows):
    """Convolution whose windows do not overlap (kernel at most stride, no padding), by one gather."""

    def __init__(self, geometry: Geometry, source: Order | None, target: Order | None, groups: int = 1) -> None:
        super().__init__(geometry, source, target)
        self.groups = groups

    def forward(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Stored maps (N, C, H, W), weight (C_out, C / groups, kh, kw) -> stored maps (N, C_out, H_out, W_out)."""
        row = weight.reshape(*weight.shape[:2], 1, self.taps)
        return self._shape(F.conv2d(self.gather(maps), row, bias, stride=(1, self.taps), groups=self.groups))


class WindowPool(_Windows):
    """Max or average pooling whose windows do not overlap, by one gather."""

    def __init__(self, geometry: Geometry, source: Order | None, target: Order | None, average: bool) -> None:
        super().__init__(geometry, source, target)
        self.average = average

    def forward(self, maps: Tensor) -> Tensor:
        """Stored maps (N, C, H, W) -> stored maps (N, C, H_out, W_out)."""
        pool = F.avg_pool2d if self.average else F.max_pool2d
        return self._shape(pool(self.gather(maps), (1, self.taps)))


class DeformConv(KeyedOperator):
    """Convolution as published: torchvision's deform_conv2d with integer offsets (PrivDL, section 3).

    It always computes in float32, because the CPU kernel has no other precision.
    """

    offsets: Tensor

    def __init__(self, geometry: Geometry, source: Order | None, target: Order | None) -> None:
        super().__init__()
        self.geometry = geometry
        # Integers, so that no conversion of the model to another precision rounds them.
        self._keep("offsets", deform_offsets(geometry, source, target)[None].astype(np.int32))
        top, left, bottom, right = geometry.padding
        self._extra = (0, max(0, right - left), 0, max(0, bottom - top))

    def forward(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Stored maps (N, C, H, W), weight (C_out, C / groups, kh, kw) -> stored maps (N, C_out, H_out, W_out)."""
        from torchvision.ops import deform_conv2d

        geometry = self.geometry
        _check_use(maps.shape[-2:], geometry.size)
        with torch.autocast(maps.device.type, enabled=False):
            result: Tensor = deform_conv2d(
                F.pad(maps.float(), self._extra),
                self.offsets.float().expand(len(maps), -1, -1, -1),
                weight.float(),
                None if bias is None else bias.float(),
                stride=geometry.stride,
                padding=geometry.padding[:2],
                dilation=geometry.dilation,
            )
        return result.to(maps.dtype)


class FlatLinear(KeyedOperator):
    """Linear layer on a flattened stored map (N, C * H * W); the weights' columns are permuted by the order."""

    columns: Tensor

    def __init__(self, order: Order, channels: int) -> None:
        super().__init__()
        self._keep("columns", (np.arange(channels)[:, None] * len(order) + order).reshape(-1))

    def forward(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Features (N, C * H * W), weight (outputs, C * H * W) -> (N, outputs)."""
        _check_tracing()
        return F.linear(features, weight.index_select(1, self.columns), bias)
