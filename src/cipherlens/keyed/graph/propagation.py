"""Propagate the order of feature maps through a model's graph, by running it once on an example."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from cipherlens.ciphers.structure import Order
from cipherlens.errors import UsageError
from cipherlens.keyed.graph.layout import Layout, Pair, Space
from cipherlens.keyed.graph.rule_tables import MAKING_MAPS, find_rule
from cipherlens.keyed.graph.rules import refuse
from cipherlens.keyed.graph.tracing import evaluating


@dataclass(frozen=True)
class Change:
    """A change from one layout to another; None is the true order."""

    source: Layout | None
    target: Layout | None


@dataclass
class Propagated:
    """Layouts of a graph's values, and the places where orders must change.

    ``layouts``: the layout of every node whose value is permuted. ``wanted``: per node, the inputs that it needs in
    another layout (None: in true order). ``fresh``: nodes that compute in true order, and whose result is then
    stored under a new order. ``shapes``: shapes of all tensors. ``storages``: per node, the memory of its value.
    ``writes``: per node, the memory that it changes in place. ``moved``: per node, the values that it changes in
    place and leaves in true order.
    """

    layouts: dict[fx.Node, Layout] = field(default_factory=dict)
    wanted: dict[fx.Node, dict[fx.Node, Change]] = field(default_factory=dict)
    fresh: list[fx.Node] = field(default_factory=list)
    shapes: dict[fx.Node, torch.Size] = field(default_factory=dict)
    storages: dict[fx.Node, frozenset[int]] = field(default_factory=dict)
    writes: dict[fx.Node, frozenset[int]] = field(default_factory=dict)
    moved: dict[fx.Node, list[fx.Node]] = field(default_factory=dict)


class Propagation(fx.Interpreter):
    """Runs a graph on an example and applies the rules node by node."""

    def __init__(self, model: nn.Module, graph: fx.Graph, source: Order, shuffled: bool, bound: Any) -> None:
        super().__init__(model, garbage_collect_values=False, graph=graph)
        self.extra_traceback = False  # this package words the errors
        self.found = Propagated()
        self.source, self.shuffled, self._bound = source, shuffled, bound

    def run_node(self, n: fx.Node) -> Any:
        """Compute a node's value and layout."""
        if n.op == "output":
            self._finish(n)
            return None
        versions = [
            (node, tensor, tensor._version) for node in n.all_input_nodes for tensor in _tensors(self.env[node])
        ]
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.found.shapes[n] = result.shape
        self.found.storages[n] = frozenset(map(_storage, _tensors(result)))
        self._note_writes(n, versions)
        layout = self._place(n, result)
        if layout is not None:
            self.found.layouts[n] = layout
        return result

    def _note_writes(self, node: fx.Node, versions: list[tuple[fx.Node, Tensor, int]]) -> None:
        """Record the memory that ``node`` changes; an in-place dropout, inactive here, counts too."""
        module = self.module.get_submodule(str(node.target)) if node.op == "call_module" else None
        announced = getattr(module, "inplace", False) or node.kwargs.get("inplace", False)
        changed = [tensor for _, tensor, version in versions if announced or tensor._version != version]
        self.found.writes[node] = frozenset(map(_storage, changed))

    def _place(self, node: fx.Node, result: Any) -> Layout | None:
        if node.op == "placeholder":
            # All later inputs are defaults.
            return Layout(Space(_sides(result), self.source), (2, 3)) if isinstance(result, Tensor) else None
        if node.op == "get_attr":
            return None
        module = self.module.get_submodule(str(node.target)) if node.op == "call_module" else None
        inputs = [needed for needed in node.all_input_nodes if needed in self.found.layouts]
        step = _Step(self, node, module, result, inputs)
        rule = find_rule(node, module)
        if rule is None:
            if inputs:
                raise refuse(step)
            return None
        return rule(step) if inputs or rule in MAKING_MAPS else None

    def create_fresh(self, node: fx.Node, result: Any) -> Layout | None:
        """The layout of a result computed in true order: a new space where maps are shuffled."""
        if not (self.shuffled and isinstance(result, Tensor) and result.ndim == 4 and result.shape[-2:] != (1, 1)):
            return None
        self.found.fresh.append(node)
        return Layout(Space(_sides(result)), (2, 3))

    def _finish(self, node: fx.Node) -> None:
        """Output maps have the client's order for their size, or the true order (``inner="plain"``)."""
        wanted = self.found.wanted.setdefault(node, {})
        for given in node.all_input_nodes:
            layout = self.found.layouts.get(given)
            if layout is None:
                continue
            if layout.axes == ():
                raise UsageError("a flattened feature map leaves the model", hint="put a linear layer behind it")
            if self.shuffled:
                size = layout.space.size
                layout.space.join(Space(size, self._bound.order_for(size)))
            else:
                wanted[given] = Change(layout, None)


def _sides(maps: Tensor) -> Pair:
    return int(maps.shape[-2]), int(maps.shape[-1])


_ALIASES = {"dim": "axis", "input": "tensors"}


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())


class _Step:
    """See :class:`cipherlens.keyed.graph.rules.Step`."""

    def __init__(
        self, run: Propagation, node: fx.Node, module: nn.Module | None, result: Any, inputs: list[fx.Node]
    ) -> None:
        self._run, self.node, self.module, self.result, self._inputs = run, node, module, result, inputs
        self.layouts = [run.found.layouts[needed] for needed in inputs]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """The value of an argument, by torch's name or NumPy's."""
        named = next((n for n in (name, _ALIASES.get(name)) if n in self.node.kwargs), None)
        if position < len(self.node.args):
            raw = self.node.args[position]
        else:
            raw = default if named is None else self.node.kwargs[named]
        return fx.node.map_arg(raw, lambda node: self._run.env[node])

    def restore(self) -> Layout | None:
        """All inputs are needed in true order; the result is stored under a new order."""
        if any(layout.axes != (2, 3) for layout in self.layouts):
            raise refuse(self, "it needs maps (N, C, H, W)")
        self._want(dict.fromkeys(self._inputs))
        return self._run.create_fresh(self.node, self.result)

    def unify(self) -> Layout | None:
        """One order for all inputs that have positions."""
        first, *others = self.layouts
        if any(other.axes != first.axes for other in others):
            raise refuse(self, "height and width are at different places in its inputs")
        plain = [node for node in self._plain_inputs() if self._has_positions(node, first)]
        if plain and not self._run.shuffled:
            self._want(dict.fromkeys(self._inputs))
            self._move_written()
            return None
        for other in others:
            if other.space.size != first.space.size:
                raise refuse(self, f"it combines maps of {first.space.size} and {other.space.size}")
            first.space.join(other.space)
        if self._run.found.writes[self.node] & {s for node in plain for s in self._run.found.storages[node]}:
            raise refuse(self, "it changes in place a map that has to be rearranged first")
        self._want(dict.fromkeys(plain, first))
        return first

    def _move_written(self) -> None:
        """An input that is changed in place is in true order from here on, for all later nodes."""
        found = self._run.found
        written = found.writes[self.node]
        aliases = [node for node in found.layouts if found.storages[node] & written]
        if len(aliases) > 1:
            raise refuse(self, "it changes in place a map that is used under several names")
        for node in aliases:
            del found.layouts[node]
        found.moved[self.node] = aliases

    def _plain_inputs(self) -> list[fx.Node]:
        found = self._run.found
        return [node for node in self.node.all_input_nodes if node in found.shapes and node not in found.layouts]

    def _has_positions(self, node: fx.Node, layout: Layout) -> bool:
        """Whether an input in true order has positions; otherwise it is broadcast over them."""
        shape = self._run.found.shapes[node]
        ndim = self.result.ndim if isinstance(self.result, Tensor) else 4
        axes = layout.axes or (ndim - 1,)
        sides = [shape[axis - ndim] if ndim - axis <= len(shape) else 1 for axis in axes]
        if all(side == 1 for side in sides):
            return False
        if len(shape) != 4 or 1 in sides:
            raise refuse(self, f"it combines a map with a tensor of shape {tuple(shape)}")
        return True

    def _want(self, layouts: dict[fx.Node, Layout | None]) -> None:
        found = self._run.found
        changes = {node: Change(found.layouts.get(node), target) for node, target in layouts.items()}
        if changes:
            found.wanted.setdefault(self.node, {}).update(changes)


def propagate(model: nn.Module, graph: fx.Graph, example: Tensor, shuffled: bool, bound: Any) -> Propagated:
    """Layouts of all values of ``graph`` when the input is stored in the order of ``bound``.

    ``bound`` is a pixel permutation for the example's size. Raises UsageError for an operation that cannot be
    converted.
    """
    run = Propagation(model, graph, bound.order, shuffled, bound)
    try:
        with torch.no_grad(), evaluating(model):
            run.run(example)
    except UsageError:
        raise
    except (
        RuntimeError,
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        AssertionError,
        ZeroDivisionError,
    ) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UsageError(
            f"the model cannot take images of shape {tuple(example.shape[1:])}: {reason}",
            hint="bind the cipher to the image shape that the model takes",
        ) from error
    return run.found
