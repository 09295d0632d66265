"""Tables of the rules of layers, functions and methods.

Rules are found by module type, function, or method name. An operation in no table is refused, because it might mix
positions.
"""

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from cipherlens.keyed.graph.rules import (
    Rule,
    along_channels,
    by_channel,
    convolution,
    expand,
    forget,
    global_pool,
    index,
    layer_norm,
    linear,
    permute,
    pointwise,
    reduce,
    reshape,
    spatial,
    stack,
)
from cipherlens.keyed.graph.tracing import is_known

MODULE_RULES: tuple[tuple[tuple[type[nn.Module], ...], Rule], ...] = (
    ((nn.Conv2d,), convolution),
    ((nn.Linear,), linear),
    ((nn.LayerNorm,), layer_norm),
    ((nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.PReLU, nn.Softmax2d, nn.Dropout2d), by_channel),
    ((nn.Flatten,), reshape),
    ((nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d), global_pool),
    ((nn.Softmax, nn.LogSoftmax, nn.GLU), along_channels),
    (
        (
            *(nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.FractionalMaxPool2d, nn.Upsample),
            *(nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ConstantPad2d, nn.CircularPad2d),
            *(nn.PixelShuffle, nn.PixelUnshuffle, nn.LocalResponseNorm),
        ),
        spatial,
    ),
    (
        (
            *(nn.modules.dropout._DropoutNd, nn.Identity),
            *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU),
            *(nn.Mish, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus),
            *(nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink, nn.Threshold),
        ),
        pointwise,
    ),
)

NAMED_RULES: dict[str, Rule] = {
    **dict.fromkeys(("DropPath", "StochasticDepth"), pointwise),
    **dict.fromkeys(("LayerNorm2d", "LayerNormAct2d", "RmsNorm2d", "SimpleNorm2d"), by_channel),
    "DropBlock2d": spatial,
}
"""Layers of timm and torchvision that are no subclass of a torch layer with the same rule."""

_POINTWISE: tuple[Any, ...] = (
    *(operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv),
    *(operator.itruediv, operator.neg, operator.pow, operator.ipow, torch.add, torch.sub, torch.mul, torch.div),
    *(torch.neg, torch.pow),
    *(torch.addcmul, torch.maximum, torch.minimum, torch.where, torch.lerp, torch.exp, torch.log, torch.sqrt),
    *(torch.rsqrt, torch.abs, torch.square, torch.clamp, torch.sigmoid, torch.tanh, torch.relu, torch.relu_),
    *(F.relu, F.relu_, F.relu6, F.gelu, F.silu, F.mish, F.elu, F.selu, F.celu, F.leaky_relu, F.hardtanh),
    *(F.hardswish, F.hardsigmoid, F.sigmoid, F.tanh, F.logsigmoid, F.softplus, F.dropout, torch.clone),
)
_SPATIAL: tuple[Any, ...] = (
    *(F.conv2d, F.conv_transpose2d, F.max_pool2d, F.avg_pool2d, F.lp_pool2d, F.interpolate, F.pad),
    *(F.pixel_shuffle, F.pixel_unshuffle, F.upsample, F.local_response_norm, torch.conv2d, torch.max_pool2d),
)
_POOLS: tuple[Any, ...] = (F.adaptive_avg_pool2d, F.adaptive_max_pool2d)
_REDUCTIONS: tuple[Any, ...] = (torch.mean, torch.sum, torch.amax, torch.amin, torch.norm, torch.std, torch.var)
_ALONG: tuple[Any, ...] = (torch.cat, torch.chunk, torch.split, F.softmax, F.log_softmax, F.glu, torch.softmax)

FUNCTION_RULES: dict[Any, Rule] = {
    **dict.fromkeys(_POINTWISE, pointwise),
    **dict.fromkeys(_SPATIAL, spatial),
    **dict.fromkeys(_POOLS, global_pool),
    **dict.fromkeys(_REDUCTIONS, reduce),
    **dict.fromkeys(_ALONG, along_channels),
    F.layer_norm: layer_norm,
    **dict.fromkeys((F.group_norm, F.prelu, F.dropout2d), by_channel),
    torch.flatten: reshape,
    torch.reshape: reshape,
    torch.permute: permute,
    torch.transpose: permute,
    torch.stack: stack,
    operator.getitem: index,
    getattr: forget,
}

METHOD_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "neg", "pow", "addcmul", "exp", "sqrt"),
            *("rsqrt", "abs", "square", "clamp", "clamp_", "sigmoid", "tanh", "relu", "relu_", "contiguous"),
            *("clone", "detach", "to", "float", "double", "half", "bfloat16", "type_as", "type"),
        ),
        pointwise,
    ),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "norm", "std", "var"), reduce),
    **dict.fromkeys(("softmax", "log_softmax", "chunk", "split"), along_channels),
    **dict.fromkeys(("flatten", "view", "reshape"), reshape),
    **dict.fromkeys(("size", "dim", "numel", "ndimension"), forget),
    **dict.fromkeys(("permute", "transpose"), permute),
    "expand_as": expand,
}


MAKING_MAPS: tuple[Rule, ...] = (spatial, convolution)
"""Rules whose result can be a map although no input is one: upsampling of a single value, for example."""


def find_rule(node: fx.Node, module: nn.Module | None) -> Rule | None:
    """The rule of a node; None for an unknown operation."""
    if module is not None:
        if type(module).__name__ in NAMED_RULES and is_known(module):
            return NAMED_RULES[type(module).__name__]
        return next((rule for types, rule in MODULE_RULES if isinstance(module, types)), None)
    if node.op == "call_function":
        return FUNCTION_RULES.get(node.target)
    return METHOD_RULES.get(str(node.target))
