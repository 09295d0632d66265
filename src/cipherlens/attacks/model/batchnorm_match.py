"""A pretrained network as prior: pictures must give it the statistics that natural images gave it.

BatchNorm keeps mean and variance of every feature map over the images that a network was trained with. The attack
changes a map from ciphertexts to pictures until the pictures have these statistics. It knows no key, label or pair.
(Yin et al., CVPR 2020, find single images in this way; here it is one map for all of them.)
"""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_shuffle

from cipherlens.attacks.base import DeclaredAttack, Found, Requirements, View
from cipherlens.attacks.covariance.attack import attack_covariance
from cipherlens.attacks.covariance.prior import parametric_statistics
from cipherlens.attacks.covariance.statistics import whitening
from cipherlens.ciphers.blockmaps import cut_blocks
from cipherlens.ciphers.estimated_inverse import BlockInverse, shape_of
from cipherlens.ciphers.structure import KeyStructure, Kind
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.errors import UsageError
from cipherlens.training.engine.normalization import Normalization

Start = Literal["random", "whitened", "ciphertexts"]
STEPS = 100
"""Gradient steps: a limit on time (minutes), set by hand."""
_BATCH, _VALUES = (16, 256), 3_000_000
"""Bounds of the images per step, and the values they hold within these bounds: a limit on memory, set by hand."""
_RATE = 0.005
"""Learning rate of Adam. Set by hand."""
_LEAST_VARIANCE = 0.01
"""Added to the variances of feature maps, so that nearly constant ones do not dominate. Set by hand."""


class BatchNormAttack(DeclaredAttack):
    """Decrypt with the map whose pictures match the BatchNorm statistics of ``network``.

    ``given`` is the normalisation of plain images for the network. ``start`` is the initial map. "ciphertexts" is
    that of the covariance attack. "whitened" gives whitened blocks the variances of natural images, "random"
    rotates them at random before. Raises UsageError for a network without BatchNorm. If it finds nothing, the
    start was far off; that does not mean that the scheme holds.
    """

    name = "batchnorm-match"
    threat_model = CIPHERTEXT_ONLY
    summary = (
        "changes a map until a public network's BatchNorm layers find its pictures as they found natural images"
    )
    requirements = Requirements(cost_minutes=5.0)
    finds_inverse = True

    def __init__(
        self, network: nn.Module, given: Normalization, start: Start = "ciphertexts", steps: int = STEPS
    ) -> None:
        if not _list_layers(network):
            raise UsageError(
                "the network has no BatchNorm layer to compare with", hint="give another, say a ResNet"
            )
        self.network, self.given, self.start, self.steps = network, given, start, steps

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """One map of whole bytes for all blocks, or plain images."""
        return structure.maps_bytes_alike or structure.kind is Kind.NOTHING

    def run(self, view: View) -> Found:
        """See :func:`refine`."""
        refined, losses = refine(view, begin(view, self.start), self.network, self.given, self.steps)
        return refined, {"start": self.start, "steps": self.steps, "losses": losses}


def begin(view: View, start: Start) -> BlockInverse:
    """The initial map; see :class:`BatchNormAttack` for ``start``."""
    if start == "ciphertexts":
        found, _ = attack_covariance(view)
        assert isinstance(found, BlockInverse)
        return found
    block, joint = view.block, not view.structure.per_channel
    prior = parametric_statistics(block, view.ciphertexts.shape[1], joint)
    near, matrices, offsets = prior.displaced(0, 0), [], []
    rng = np.random.default_rng(view.seed)
    for channel, blocks in enumerate(cut_blocks(view.ciphertexts, block, joint)):
        values = blocks.reshape(-1, blocks.shape[-1]).astype(np.float64)
        size = values.shape[1]
        turn = np.linalg.qr(rng.normal(size=(size, size)))[0] if start == "random" else np.eye(size)
        white = whitening(np.cov(values, rowvar=False), size)[0]
        matrices.append(white @ turn @ whitening(near[channel, :, channel], size)[1])
        offsets.append(prior.mean[channel] - values.mean(axis=0) @ matrices[-1])
    shape = shape_of(view.ciphertexts)
    return BlockInverse(shape=shape, block=block, matrices=np.stack(matrices), offsets=np.stack(offsets))


def refine(
    view: View, inverse: BlockInverse, network: nn.Module, given: Normalization, steps: int
) -> tuple[BlockInverse, list[float]]:
    """Minimise the mismatch over changes of the map; returns the map, and the mismatch at every step.

    Changes are relative to the whitened blocks of the first pictures: directions that vary little need small ones.
    """
    pictures = cut_blocks(inverse.apply(view.ciphertexts), inverse.block, joint=len(inverse.matrices) == 1)
    values = pictures.reshape(len(pictures), -1, pictures.shape[-1]).astype(np.float64)
    roots = [whitening(np.cov(part, rowvar=False), part.shape[1]) for part in values]
    into, out_of = (torch.from_numpy(np.stack(parts)) for parts in zip(*roots, strict=True))
    mean = torch.from_numpy(values.mean(axis=1))
    matrices, offsets = torch.from_numpy(inverse.matrices), torch.from_numpy(inverse.offsets)
    change = torch.zeros_like(matrices, requires_grad=True)
    shift = torch.zeros_like(offsets, requires_grad=True)
    optimizer, rng = torch.optim.Adam([change, shift], lr=_RATE), np.random.default_rng(view.seed)
    network, losses = network.eval().requires_grad_(False), []
    size = min(len(view.ciphertexts), int(np.clip(_VALUES // view.ciphertexts[0].size, *_BATCH)))
    for _ in range(steps):
        step = into @ change @ out_of
        moved = torch.baddbmm(matrices, matrices, step)
        moved_offsets = offsets + ((offsets - mean)[:, None] @ step + shift[:, None] @ out_of)[:, 0]
        chosen = np.sort(rng.choice(len(view.ciphertexts), size, replace=False))
        images = _apply(torch.from_numpy(view.ciphertexts[chosen]), inverse.block, moved, moved_offsets)
        loss = measure_mismatch(network, given.apply(images))
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found = replace(inverse, matrices=moved.detach().numpy(), offsets=moved_offsets.detach().numpy())
    return found, losses


def _apply(ct: Tensor, block: int, matrices: Tensor, offsets: Tensor) -> Tensor:
    """Pictures (N, C, H, W) float32 of ciphertexts, as BlockInverse gives them, with a gradient."""
    whole: Tensor = torch.block_diag(*matrices)  # type: ignore[no-untyped-call]
    kernel = whole.T.float().reshape(offsets.numel(), ct.shape[1], block, block)
    return pixel_shuffle(conv2d(ct, kernel, offsets.flatten().float(), stride=block), block)


def measure_mismatch(network: nn.Module, images: Tensor) -> Tensor:
    """How far means and variances of the feature maps are from those that BatchNorm keeps, over all layers.

    Means differ by (m - kept)^2 / variance, variances by the squared log of their ratio. ``images`` (N, C, H, W).
    """
    seen: list[Tensor] = []

    def compare(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None and layer.running_var is not None
        variances, means = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        kept = layer.running_var + _LEAST_VARIANCE
        ratios = ((variances + _LEAST_VARIANCE) / kept).log()
        seen.append(((means - layer.running_mean).square() / kept + ratios.square()).mean())

    hooks = [layer.register_forward_pre_hook(compare) for layer in _list_layers(network)]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(seen).mean()


def _list_layers(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Layers that keep statistics."""
    layers = (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    return [layer for layer in layers if layer.running_mean is not None]
