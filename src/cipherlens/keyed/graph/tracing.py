"""A model's forward pass as a graph of layers, by torch.fx."""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from cipherlens.errors import UsageError

# Leaf modules although they are not torch.nn's: they branch on ``self.training``, or normalise channels.
LEAF_NAMES = frozenset(
    {"DropPath", "StochasticDepth", "DropBlock2d", "LayerNorm2d", "LayerNormAct2d", "RmsNorm2d", "SimpleNorm2d"}
)
LEAF_TYPES = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.modules.batchnorm._NormBase, nn.GroupNorm)


def is_known(module: nn.Module) -> bool:
    """Whether a layer is defined by torch, timm or torchvision, for which there are rules."""
    return type(module).__module__.split(".")[0] in ("torch", "timm", "torchvision")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards the mode of every module is restored."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


class InPlaceProxy(fx.Proxy):
    """A traced value for which ``x += y`` stays in place.

    torch.fx makes a sum of it, which needs more memory, and is wrong where the value has another name.
    """


def _stay_in_place(name: str) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    target = getattr(operator, name)
    return lambda value, other: value.tracer.create_proxy("call_function", target, (value, other), {})


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
    setattr(InPlaceProxy, f"__i{_name}__", _stay_in_place(f"i{_name}"))


class LayerTracer(fx.Tracer):
    """Traces through blocks and stops at layers; conditions on traced values are decided for ``example``."""

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self._example = example
        self._values: dict[fx.Node, Any] = {}
        self._evaluating = False

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A traced value."""
        return InPlaceProxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module stays one node."""
        # Some subclasses of torch's layer norm permute inside (torchvision); timm's are named above. A user's
        # subclasses may do anything, so they are traced.
        leaf = type(m).__name__ in LEAF_NAMES or isinstance(m, LEAF_TYPES)
        return (leaf and is_known(m)) or super().is_leaf_module(m, module_qualified_name)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Decide a condition on a traced value by computing it for the example."""
        self._evaluating = True
        try:
            with torch.no_grad(), evaluating(self.root):
                return bool(self._evaluate(obj.node))
        finally:
            self._evaluating = False

    def _evaluate(self, node: fx.Node) -> Any:
        if node not in self._values:
            for needed in node.all_input_nodes:
                self._evaluate(needed)
            self._values[node] = self._run(node)
        return self._values[node]

    def _run(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._example
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda needed: self._values[needed])
        target: Any = node.target
        if node.op == "call_function":
            return target(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        if node.op == "get_attr":
            owner, _, name = target.rpartition(".")
            return getattr(self.root.get_submodule(owner), name)
        return self.root.get_submodule(target).forward(*args, **kwargs)

    # While a condition is computed, the tracer must call modules as usual.
    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A traced call, or a real one while a condition is computed."""
        if self._evaluating:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A traced parameter, or the real one while a condition is computed."""
        if self._evaluating:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def trace(model: nn.Module, example: Tensor) -> fx.Graph:
    """The graph of ``model`` for inputs like ``example``. Raises UsageError, naming the module, on failure."""
    tracer = LayerTracer(example)
    try:
        return tracer.trace(model)
    except UsageError:
        raise
    except Exception as error:  # torch.fx, and whatever the model's own code raises on a traced value
        stack = list(tracer.module_stack.values()) if hasattr(tracer, "module_stack") else []
        place = f"{stack[-1][0]} ({type_name(stack[-1][1])})" if stack else type(model).__name__
        raise UsageError(
            f"cannot follow the forward pass of {place}: {error}",
            hint="write its forward without Python branches or loops over tensor values, or make the part that has "
            "them a layer of torch.nn",
        ) from error


def type_name(kind: Any) -> str:
    """Short name of a module's type as torch.fx records it."""
    return kind.__name__ if isinstance(kind, type) else str(kind).rsplit(".", 1)[-1]


def describe_place(node: fx.Node) -> str:
    """Module path and operation of a node, for messages."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(node.target) if node.op == "call_module" else (stack[-1][0] if stack else "the model itself")
    operation = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"{path or 'the model itself'}: {operation}"
