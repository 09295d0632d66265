"""Rules: the effect of each layer and function on the order of feature maps.

A rule takes a :class:`Step` and returns the layout of its result, or None where nothing is permuted. The tables of
:mod:`cipherlens.keyed.graph.rule_tables` assign rules to layers, functions and methods.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn

from cipherlens.errors import UsageError
from cipherlens.keyed.graph.layout import Layout
from cipherlens.keyed.graph.tracing import describe_place


class Step(Protocol):
    """One node during the propagation of layouts."""

    node: fx.Node
    module: nn.Module | None
    result: Any
    layouts: list[Layout]
    """Layouts of the inputs that have one."""

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or name, as a value."""

    def unify(self) -> Layout | None:
        """Give all full-size inputs one order; return their common layout."""

    def restore(self) -> Layout | None:
        """Request all inputs in true order; return the layout of the result."""


Rule = Callable[[Step], Layout | None]


def refuse(step: Step, why: str = "it is not known how it treats positions") -> UsageError:
    """The error for an operation that cannot be converted."""
    name = "" if step.module is None else f" ({type(step.module).__name__})"
    return UsageError(
        f"cannot lock {describe_place(step.node)}{name}: {why}",
        hint='lock with inner="plain", which permutes the input only; or write this step with layers of torch.nn',
    )


def pointwise(step: Step) -> Layout | None:
    """Treats every position alike."""
    return step.unify()


def spatial(step: Step) -> Layout | None:
    """Combines neighbouring positions."""
    return step.restore()


def convolution(step: Step) -> Layout | None:
    """A 1 x 1 convolution of stride 1 is pointwise."""
    module: Any = step.module
    if not step.layouts:
        return spatial(step)
    if set(module.kernel_size) | set(module.stride) == {1} and module.padding in (0, (0, 0), "valid", "same"):
        return _require_axes(step, pointwise(step), (2, 3))
    return spatial(step)


def linear(step: Step) -> Layout | None:
    """Pointwise on channels-last maps; on a flattened map it ends the permutation."""
    layout = pointwise(step)
    if layout is None:
        return None
    if layout.axes == ():
        module: Any = step.module
        if type(module).forward is not nn.Linear.forward or has_hooks(module):
            raise refuse(step, "the columns of its weights cannot be reordered")
        return None
    if step.result.ndim != 4:
        raise refuse(step, "channels are not in its last dimension")
    return _require_axes(step, layout, (1, 2))


def has_hooks(module: nn.Module) -> bool:
    """Whether a layer has forward hooks, which may read or change its inputs and outputs."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def by_channel(step: Step) -> Layout | None:
    """Treats each channel (dimension 1) separately, and all positions alike."""
    if not step.layouts[0].avoids([1]):
        raise refuse(step, "channels are not in dimension 1")
    return pointwise(step)


def layer_norm(step: Step) -> Layout | None:
    """Normalises over channels, or over a whole map without weights."""
    module: Any = step.module
    shape = step.argument(1, "normalized_shape") if module is None else module.normalized_shape
    weights = [step.argument(2, "weight"), step.argument(3, "bias")] if module is None else [*module.parameters()]
    layout, ndim = step.layouts[0], step.result.ndim
    dims = range(ndim - len(shape), ndim)
    if layout.avoids(dims) or (layout.covers(dims) and all(weight is None for weight in weights)):
        return layout
    raise refuse(step, "it has weights per position")


def global_pool(step: Step) -> Layout | None:
    """A mean or maximum over all positions does not depend on their order."""
    if isinstance(step.result, Tensor) and step.result.shape[-2:] == (1, 1) and step.layouts[0].axes == (2, 3):
        return None
    return spatial(step)


def reduce(step: Step) -> Layout | None:
    """A reduction over both spatial axes ends the permutation; one over other axes keeps it."""
    dims = step.argument(2 if step.node.target in (torch.norm, "norm") else 1, "dim")
    layout, source = step.layouts[0], step.argument(0, "input")
    if dims is None:
        return None
    dims = [dim % source.ndim for dim in (dims if isinstance(dims, tuple | list) else (dims,))]
    if layout.covers(dims):
        return None
    if not layout.avoids(dims) or not isinstance(step.result, Tensor):
        raise refuse(step, f"it reduces dimensions {dims}, not all of height and width")
    gone = 0 if step.result.ndim == source.ndim else 1
    return Layout(layout.space, tuple(axis - gone * sum(dim < axis for dim in dims) for axis in layout.axes))


def along_channels(step: Step) -> Layout | None:
    """Acts along one dimension, which must not be height or width."""
    position = 2 if step.node.target in (torch.chunk, torch.split, "chunk", "split") else 1
    dim = step.argument(position, "dim", 0) if step.module is None else getattr(step.module, "dim", None)
    value = step.argument(0, "input")
    ndim = (value[0] if isinstance(value, tuple | list) else value).ndim
    if dim is None or not step.layouts[0].avoids([dim % ndim]):
        raise refuse(step, f"it acts along dimension {dim}")
    return pointwise(step)


def stack(step: Step) -> Layout | None:
    """Stacks several maps along a new dimension."""
    layout = step.unify()
    dim = step.argument(1, "dim", 0) % step.result.ndim
    if layout is None or layout.axes == () or layout.axes[0] < dim <= layout.axes[1]:
        raise refuse(step, f"it stacks along dimension {dim}")
    return Layout(layout.space, tuple(axis + (dim <= axis) for axis in layout.axes))


def reshape(step: Step) -> Layout | None:
    """Splits or merges channels, or flattens (N, C, H, W) -> (N, C * H * W)."""
    layout, shape = step.layouts[0], tuple(step.result.shape)
    source = step.argument(0, "input")
    if layout.axes == (source.ndim - 2, source.ndim - 1) and shape[-2:] == tuple(source.shape[-2:]):
        return Layout(layout.space, (len(shape) - 2, len(shape) - 1))
    if layout.axes == (2, 3) and shape == (source.shape[0], source[0].numel()):
        return Layout(layout.space, (), source.shape[1])
    if shape == tuple(source.shape):
        return layout
    raise refuse(step, f"it reshapes {tuple(source.shape)} to {shape}")


def permute(step: Step) -> Layout | None:
    """Permutes the axes; height must stay directly before width."""
    args = step.node.args[1:]
    ndim = step.result.ndim
    if step.node.target in (torch.transpose, "transpose"):
        dims = _swap(ndim, step.argument(1, "dim0") % ndim, step.argument(2, "dim1") % ndim)
    else:
        given: Any = args[0] if args and isinstance(args[0], tuple | list) else (args or step.node.kwargs["dims"])
        dims = [dim % ndim for dim in given]
    layout = step.layouts[0]
    axes = tuple(dims.index(axis) for axis in layout.axes)
    if len(axes) != 2 or axes[0] + 1 != axes[1]:
        raise refuse(step, f"it puts height and width at dimensions {axes}")
    return Layout(layout.space, axes)


def _swap(ndim: int, first: int, second: int) -> list[int]:
    dims = list(range(ndim))
    dims[first], dims[second] = second, first
    return dims


def expand(step: Step) -> Layout | None:
    """Repeats a value without positions over those of a map."""
    return step.layouts[0] if step.argument(0, "input").shape[-2:] == (1, 1) else pointwise(step)


def index(step: Step) -> Layout | None:
    """Selects a slice of channels, or one of several tensors."""
    layout, source = step.layouts[0], step.argument(0, "input")
    if not isinstance(source, Tensor):
        return layout
    key = step.argument(1, "index")
    parts = key if isinstance(key, tuple) else (key,)
    whole = slice(None)
    at_axes = [parts[axis] for axis in layout.axes if axis < len(parts)]
    if layout.axes and all(isinstance(part, slice) for part in parts) and all(part == whole for part in at_axes):
        return layout
    raise refuse(step, "it picks positions")


def forget(step: Step) -> Layout | None:
    """Returns a shape or a number of dimensions, which has no positions."""
    if isinstance(step.result, Tensor):
        raise refuse(step, "it reads an attribute that holds positions")
    return None


def _require_axes(step: Step, layout: Layout | None, axes: tuple[int, ...]) -> Layout | None:
    if layout is not None and layout.axes != axes:
        raise refuse(step, "channels are not where it looks for them")
    return layout
