"""``lock``: convert any convolutional network into one for permuted images (PrivDL, generalised)."""

import copy
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn

from cipherlens.ciphers.base import BoundCipher
from cipherlens.ciphers.schemes.permutation import BoundPixelPermutation
from cipherlens.ciphers.structure import Order
from cipherlens.errors import UsageError
from cipherlens.keyed.graph.propagation import Propagated, propagate
from cipherlens.keyed.graph.rewriting import OPERATORS, Rewriting
from cipherlens.keyed.graph.tracing import describe_place, trace

INNERS = ("shuffled", "plain")
BACKENDS = ("gather", "deform")


@dataclass(frozen=True)
class FeatureMap:
    """A stored feature map of a locked model: the node that yields it, the layer that made it, and its order."""

    node: str
    layer: str
    size: tuple[int, int]
    order: Order

    def __repr__(self) -> str:
        return f"FeatureMap({self.layer!r}, {self.size})"


class LockedModel(fx.GraphModule):
    """A model that computes on permuted images what the plain one computes on plain images.

    Parameter names, and state dicts, are the plain model's. The key's tables are buffers that no state dict holds,
    but the object holds them. **Whoever holds a locked model can read the key out of it.** Therefore it cannot be
    pickled: store its state dict, and lock the plain model again.
    """

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model's key."""
        return str(self.meta["fingerprint"])

    @property
    def inner(self) -> str:
        """How inner feature maps are stored: "shuffled" or "plain"."""
        return str(self.meta["inner"])

    @property
    def feature_maps(self) -> tuple[FeatureMap, ...]:
        """The stored feature maps, in the order of computation; empty with ``inner="plain"``."""
        return cast("tuple[FeatureMap, ...]", self.meta["feature_maps"])

    def __reduce__(self) -> Any:
        raise TypeError("a locked model holds key material and cannot be pickled; save its state_dict() instead")

    def to_folder(self, folder: Any, module_name: str = "FxModule") -> None:
        """Refused, like pickling."""
        self.__reduce__()

    def __deepcopy__(self, memo: dict[int, Any]) -> "LockedModel":
        result = cast("LockedModel", super().__deepcopy__(memo))
        _adopt(result, copy.deepcopy(self._modules), copy.deepcopy(self._parameters), copy.deepcopy(self._buffers))
        return result


def lock(
    model: nn.Module,
    bound: BoundCipher,
    inner: Literal["shuffled", "plain"] = "shuffled",
    backend: Literal["gather", "deform"] = "gather",
) -> LockedModel:
    """A copy of ``model`` that computes on images encrypted by ``bound`` what the plain model does on plain ones.

    ``bound`` is a ``pixel-permutation`` bound to the shape (C, H, W) that the model takes. ``inner="shuffled"``
    also stores every spatial feature map under its own permutation from the key. The output maps of a segmentation
    network are then permuted like an image of their size, and ``decrypt`` restores them. With ``inner="plain"``
    only the input is permuted. ``backend`` computes convolutions by gathering rows ("gather") or as deformable
    convolutions ("deform", as published). Results are equal within rounding. Perez, Lopez and Arguello, ICASSP
    2024, section 3.

    Raises UsageError for another cipher, a model that torch.fx cannot trace, or an operation whose effect on
    positions is unknown. The message names the module and says what to do.
    """
    if not isinstance(bound, BoundPixelPermutation):
        raise UsageError(
            f"a model is locked to a pixel-permutation, not to {bound.cipher.name}",
            hint="bind create_cipher('pixel-permutation') to the key",
        )
    if inner not in INNERS or backend not in BACKENDS:
        raise UsageError(
            f"no inner={inner!r} with backend={backend!r}", hint=f"choose from {INNERS} and {BACKENDS}"
        )
    if isinstance(model, LockedModel):
        raise UsageError("the model is locked already", hint="lock the plain model")
    with torch.inference_mode(False):  # inference tensors can be neither traced nor changed
        return _lock(model, bound, inner, backend)


def _lock(model: nn.Module, bound: BoundPixelPermutation, inner: str, backend: str) -> LockedModel:
    root = _copy(model)
    example = _make_example(root, bound)
    graph = trace(root, example)
    found = propagate(root, graph, example, inner == "shuffled", bound)
    _draw_orders(found, bound)
    rewriting = Rewriting(root, graph, found, backend)
    new_graph = rewriting.run()
    children = dict(root._modules)
    root.add_module(OPERATORS, rewriting.operators)
    locked = LockedModel(root, new_graph, class_name=f"Locked{type(model).__name__}")
    _adopt(locked, {**children, OPERATORS: rewriting.operators}, root._parameters, root._buffers)
    locked.meta |= {
        "fingerprint": bound.fingerprint,
        "inner": inner,
        "feature_maps": _list_maps(found, rewriting.made),
    }
    for name, constant in _find_constants(root, new_graph).items():
        locked.register_buffer(name, constant, persistent=False)
    # Each layer keeps its mode, because the caller may have frozen one.
    locked.training = model.training
    rewriting.operators.train(model.training)
    return _store_channels_last(locked)


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise UsageError(
            f"the model cannot be copied: {error}",
            hint="lock a model without gradients on its way; for weight norm use torch.nn.utils.parametrizations",
        ) from error


def _find_constants(root: nn.Module, graph: fx.Graph) -> dict[str, Tensor]:
    """Tensors that the forward pass creates; tracing stores them on the model under new names."""
    names = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    return {name: root.__dict__[name] for name in names if isinstance(root.__dict__.get(name), Tensor)}


def _store_channels_last(model: LockedModel) -> LockedModel:
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def _make_example(model: nn.Module, bound: BoundCipher) -> Tensor:
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    # Two images, so that a branch on the number of images is not decided for a single image.
    return torch.zeros(2, *bound.shape, dtype=first.dtype, device=first.device)


def _draw_orders(found: Propagated, bound: BoundPixelPermutation) -> None:
    """Draw an order from the key for every space that has none yet."""
    spaces = (found.layouts[node].space for node in found.fresh)
    number = 0
    for space in spaces:
        if space.order is None:
            space.order = bound.inner_order(number, space.size)
            number += 1


def _list_maps(found: Propagated, made: dict[fx.Node, fx.Node]) -> tuple[FeatureMap, ...]:
    layouts = ((node, found.layouts[node].space) for node in found.fresh)
    return tuple(
        FeatureMap(made[node].name, describe_place(node), space.size, space.order)
        for node, space in layouts
        if space.order is not None
    )


def _adopt(locked: nn.Module, modules: Any, parameters: Any, buffers: Any) -> None:
    """Give a graph module the plain model's modules, so that names and their order are the plain model's."""
    locked._modules, locked._parameters, locked._buffers = dict(modules), dict(parameters), dict(buffers)
