"""Rewrite a model's graph with operators that restore, rearrange and shuffle feature maps."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from cipherlens.ciphers.structure import Order
from cipherlens.keyed.graph.layout import Layout, Pair
from cipherlens.keyed.graph.propagation import Propagated
from cipherlens.keyed.graph.rules import has_hooks
from cipherlens.keyed.operators import DeformConv, FlatLinear, Gather, WindowConv, WindowPool
from cipherlens.keyed.tables import Geometry, compose

OPERATORS = "_keyed"
"""Name of the submodule that holds the operators of a locked model."""


class Rewriting:
    """One pass over a graph whose layouts and orders are known."""

    def __init__(self, model: nn.Module, graph: fx.Graph, found: Propagated, backend: str) -> None:
        self.operators = nn.ModuleList()
        self.made: dict[fx.Node, fx.Node] = {}
        """The new node for each old one."""
        self._model, self._source, self._found, self._backend = model, graph, found, backend
        self._graph = fx.Graph(tracer_cls=graph._tracer_cls)
        self._converted: dict[tuple[fx.Node, int], fx.Node] = {}

    def run(self) -> fx.Graph:
        """The new graph, which calls the operators of ``operators``."""
        fresh = set(self._found.fresh)
        for node in self._source.nodes:
            made = self._substitute(node)
            if made is None:
                made = self._graph.node_copy(node, partial(self._give, node))
                if node in fresh:
                    made = self._rearrange(made, None, self._found.layouts[node])
            for moved in self._found.moved.get(node, []):
                self.made[moved] = self._give(node, moved)
            self._forget_changed(node)
            self.made[node] = made
        return self._graph

    def _forget_changed(self, node: fx.Node) -> None:
        """Drop rearranged copies of values that a node changes in place, because they are outdated."""
        written = self._found.writes.get(node)
        if written:
            kept = {p: c for p, c in self._converted.items() if not self._found.storages[p[0]] & written}
            self._converted = kept

    def _give(self, user: fx.Node, needed: fx.Node) -> fx.Node:
        """The value of ``needed`` in the layout that ``user`` needs."""
        wanted = self._found.wanted.get(user, {})
        if needed not in wanted:
            return self.made[needed]
        change = wanted[needed]
        place = (needed, 0 if change.target is None else id(change.target.space.root))
        if place not in self._converted:  # made once for all users
            self._converted[place] = self._rearrange(self.made[needed], change.source, change.target)
        return self._converted[place]

    def _rearrange(self, node: fx.Node, source: Layout | None, target: Layout | None) -> fx.Node:
        layout = source or target
        if layout is None:
            return node
        size = layout.space.size
        index = compose(_get_order(source), _get_order(target), size[0] * size[1])
        axes = (layout.axes[0], layout.axes[1])
        return node if index is None else self._call(Gather(index, size, axes=axes), node)

    def _call(self, operator: nn.Module, *args: Any) -> fx.Node:
        self.operators.append(operator)
        return self._graph.call_module(f"{OPERATORS}.{len(self.operators) - 1}", args)

    def _substitute(self, node: fx.Node) -> fx.Node | None:
        """An operator from stored maps to stored maps that needs no gathers around it; None where there is none."""
        training = node.args[2] if len(node.args) > 2 else node.kwargs.get("training", True)
        if node.target in (F.dropout, F.dropout2d) and training == self._model.training:
            # A traced function keeps the mode of the time of tracing; a layer follows the model's mode.
            rate = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
            kind: Any = nn.Dropout if node.target is F.dropout else nn.Dropout2d
            return self._call(kind(rate), self._give(node, node.all_input_nodes[0]))
        if node.op != "call_module" or not node.all_input_nodes:
            return None
        given = node.all_input_nodes[0]
        module = self._model.get_submodule(str(node.target))
        layout = self._found.layouts.get(given)
        if isinstance(module, nn.Linear):
            return self._substitute_linear(node, given, layout)
        moves = given in self._found.wanted.get(node, {}) or node in self._found.fresh
        orders = _get_order(layout), _get_order(self._found.layouts.get(node))
        if not moves or all(order is None for order in orders) or has_hooks(module):
            return None
        return self._substitute_windows(node, given, module, orders)

    def _substitute_windows(
        self, node: fx.Node, given: fx.Node, module: nn.Module, orders: tuple[Order | None, Order | None]
    ) -> fx.Node | None:
        """A convolution or pooling; None for one that needs gathers before and after it."""
        size = self._found.shapes[given][-2:]
        if isinstance(module, nn.Conv2d):
            geometry = conv_geometry(module, size)
            if geometry is not None and self._backend == "deform":
                return self._layer(DeformConv(geometry, *orders), node, given)
            if geometry is not None and geometry.disjoint:
                return self._layer(WindowConv(geometry, *orders, module.groups), node, given)
            return None
        geometry = pool_geometry(module, size)
        if geometry is None or not geometry.disjoint:
            return None
        return self._call(WindowPool(geometry, *orders, isinstance(module, nn.AvgPool2d)), self.made[given])

    def _substitute_linear(self, node: fx.Node, given: fx.Node, layout: Layout | None) -> fx.Node | None:
        order = _get_order(layout)
        if layout is None or layout.axes or order is None:
            return None
        return self._layer(FlatLinear(order, layout.channels), node, given)

    def _layer(self, operator: nn.Module, node: fx.Node, given: fx.Node) -> fx.Node:
        """``operator`` with the weights of the layer that ``node`` calls, under their own names."""
        layer: Any = self._model.get_submodule(str(node.target))
        weight = self._graph.get_attr(f"{node.target}.weight")
        bias = None if layer.bias is None else self._graph.get_attr(f"{node.target}.bias")
        return self._call(operator, self.made[given], weight, bias)


def _get_order(layout: Layout | None) -> Order | None:
    return None if layout is None else layout.space.order


def conv_geometry(module: nn.Conv2d, size: Sequence[int]) -> Geometry | None:
    """Windows of a convolution on maps of ``size`` (H, W); None for a kind that torch computes itself."""
    if type(module) is not nn.Conv2d and type(module).__name__ != "Conv2dSame":
        return None
    if module.padding_mode not in ("zeros", "reflect"):
        return None
    kernel, stride, dilation = _pair(module.kernel_size), _pair(module.stride), _pair(module.dilation)
    if type(module).__name__ == "Conv2dSame" or module.padding == "same":
        padding = _same_padding(size, kernel, stride, dilation)
    else:
        top, left = (0, 0) if module.padding == "valid" else _pair(module.padding)
        padding = (top, left, top, left)
    reflect = module.padding_mode == "reflect"
    return Geometry(_pair(size), kernel, stride, dilation, padding, reflect)


def pool_geometry(module: nn.Module, size: Sequence[int]) -> Geometry | None:
    """Windows of a max or average pooling without special options, on maps of ``size`` (H, W); else None."""
    if type(module) not in (nn.MaxPool2d, nn.AvgPool2d):
        return None
    pool: Any = module
    if pool.ceil_mode or getattr(pool, "return_indices", False) or getattr(pool, "divisor_override", None):
        return None
    kernel, (top, left) = _pair(pool.kernel_size), _pair(pool.padding)
    stride, dilation = _pair(pool.stride), _pair(getattr(pool, "dilation", 1))
    return Geometry(_pair(size), kernel, stride, dilation, (top, left, top, left))


def _same_padding(size: Sequence[int], kernel: Pair, stride: Pair, dilation: Pair) -> tuple[int, int, int, int]:
    """TensorFlow's "same" padding, torch's at stride 1: ceil(side / stride) outputs, an odd row at the end."""
    totals = [
        max(0, (-(-side // s) - 1) * s + (k - 1) * d + 1 - side)
        for side, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    return totals[0] // 2, totals[1] // 2, totals[0] - totals[0] // 2, totals[1] - totals[1] // 2


def _pair(value: Any) -> Pair:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))
