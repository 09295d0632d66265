"""Recovers the key from a keyed model, for an attacker who knows the plain network it was made of.

A locked model classifies permuted images as the plain one classifies plain ones. On grey images with one bright
pixel both give the same answers in another order, which tells where each pixel went. No table and no weight of the
locked model is read: use of it, and the plain network, are enough to find the key. A folded model differs from the
plain one in its first layer, by the key's matrix.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Attack, DeclaredAttack, Found, View
from cipherlens.attacks.shared.distances import squared_distances
from cipherlens.ciphers.estimated_inverse import PositionInverse
from cipherlens.ciphers.structure import KeyStructure, Kind, Order, Scope
from cipherlens.ciphers.threat_models import MODEL_IN_HAND
from cipherlens.ciphers.value_inverses import from_flat_blocks
from cipherlens.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float64]

_GREY, _BRIGHT = 0.5, 8.0
"""Values of the image and its bright pixel. Set by hand: models accept any value; brighter is clearer."""
_BATCH = 128
"""Images asked about at a time: a limit on memory, set by hand."""


class LockedModelAttack(DeclaredAttack):
    """Decrypt with the permutation that a locked model gives away; ``plain`` is the network that was locked.

    If it finds nothing, ``plain`` is another network than the one that was locked.
    """

    name = "locked-model"
    threat_model = MODEL_IN_HAND
    finds_inverse = True
    summary = "asks the locked model and the plain network about grey images with one bright pixel, and compares"

    def __init__(self, locked: "nn.Module", plain: "nn.Module") -> None:
        self.locked, self.plain = locked, plain

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """One permutation of the places of a channel, or plain images."""
        return structure.scope is Scope.CHANNELS or structure.kind is Kind.NOTHING

    def without_key(self) -> Attack:
        """The plain network in place of the locked one."""
        return LockedModelAttack(self.plain, self.plain)

    def run(self, view: View) -> Found:
        """Ask both models about every pixel, and undo the permutation that their answers tell."""
        order, unsure = recover_order(self.locked, self.plain, view.plain_shape)
        details = {"key_recovered": unsure == 0, "unsure": unsure, "pixels": len(order)}
        if not unsure:
            return PositionInverse(shape=view.plain_shape, source=np.argsort(order)), details
        count, channels, height, width = view.ciphertexts.shape
        found = np.zeros((count, channels, height * width), np.float32)
        found[:, :, order] = view.ciphertexts.reshape(found.shape)
        return found.reshape(view.ciphertexts.shape), details


def recover_order(locked: "nn.Module", plain: "nn.Module", shape: Sequence[int]) -> tuple[Order, int]:
    """The permutation ``ct[i] = plain[order[i]]`` (H * W,), and the number of ambiguous pixels.

    Both models take (N, C, H, W) of ``shape`` (C, H, W) and are asked H * W times.
    """
    from scipy.spatial import cKDTree

    seen, known = (_ask(model, shape) for model in (locked, plain))
    scale = known.std(axis=0) + 1e-30
    order: Order = cKDTree(known / scale).query(seen / scale)[1].astype(np.int64)
    _, place, wanted_by = np.unique(order, return_inverse=True, return_counts=True)
    return order, int((wanted_by[place] > 1).sum())


def _ask(model: "nn.Module", shape: Sequence[int]) -> Floats:
    """Answers of the model to grey images with one bright pixel, one for each pixel: (H * W, answers)."""
    import torch

    channels, height, width = shape
    model = copy.deepcopy(model).eval()
    parameter = next(model.parameters())
    colour = torch.linspace(_BRIGHT, _BRIGHT / 2, channels).to(parameter)
    answers = []
    with torch.inference_mode():
        for start in range(0, height * width, _BATCH):
            places = torch.arange(start, min(start + _BATCH, height * width))
            images = torch.full((len(places), channels, height * width), _GREY).to(parameter)
            images[torch.arange(len(places)), :, places] = colour
            answers.append(model(images.reshape(-1, channels, height, width)).flatten(1).double().cpu())
    return np.asarray(torch.cat(answers).numpy(), np.float64)


class FoldedModelAttack(DeclaredAttack):
    """Decrypt with the matrix that a folded model's first layer gives away.

    ``plain`` is the network it was made of, ``std`` (C,) the normalisation it was trained with, both public. If it
    finds nothing, the first layer has fewer outputs than a block has values, or ``plain`` is another network.
    """

    name = "folded-model"
    threat_model = MODEL_IN_HAND
    finds_inverse = True
    summary = "compares the first layer of the folded model with that of the plain network"

    def __init__(self, folded: "nn.Module", plain: "nn.Module", std: Sequence[float]) -> None:
        self.folded, self.plain, self.std = folded, plain, std

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """One map of whole bytes for all blocks, or plain images."""
        return structure.maps_bytes_alike or structure.kind is Kind.NOTHING

    def without_key(self) -> Attack:
        """The plain network in place of the folded one."""
        return FoldedModelAttack(self.plain, self.plain, (1.0,) * len(self.std))

    def run(self, view: View) -> Found:
        """Compare the two layers, and undo the map between them."""
        kept, public = (_read_stem(model, view.block) for model in (self.folded, self.plain))
        if kept.shape != public.shape:
            raise UsageError("the two models do not begin with the same layer", hint="give the one that was folded")
        public /= np.tile(np.asarray(self.std, np.float64), public.shape[1] // len(self.std))
        inverse, shift, details = _find_map(view, kept, public)
        return from_flat_blocks(view.plain_shape, view.block, inverse, shift), details


def _find_map(view: View, kept: Floats, public: Floats) -> tuple[Floats, Floats, dict[str, Any]]:
    """``inverse`` (L, L) and ``shift`` (L,) with ``x = ct @ inverse + shift`` for blocks of L values."""
    size, channels = kept.shape[1], view.plain_shape[0]
    if view.structure.kind is Kind.REARRANGEMENT:
        return _match_columns(kept, public)
    # A row of the folded layer is the plain one times the inverse, transposed; hill keeps the channels apart.
    inverse, ranks = np.zeros((size, size)), []
    step = channels if view.structure.kind is Kind.LINEAR and view.structure.per_channel else 1
    for first in range(step):
        solved, _, rank, _ = np.linalg.lstsq(public[:, first::step], kept[:, first::step], rcond=1e-6)
        inverse[first::step, first::step] = solved.T
        ranks.append(int(rank))
    needed = size // step
    details = {"rank": min(ranks), "needed_rank": needed, "key_recovered": min(ranks) == needed}
    return inverse, np.zeros(size), details


def _match_columns(kept: Floats, public: Floats) -> tuple[Floats, Floats, dict[str, Any]]:
    """The same where single values are moved and inverted: columns of the two layers agree up to signs."""
    either = np.concatenate([public, -public], axis=1)
    nearest = squared_distances(kept.T, either.T).argmin(axis=1)
    size = kept.shape[1]
    source, inverted = nearest % size, nearest >= size
    inverse, shift = np.zeros((size, size)), np.zeros(size)
    inverse[np.arange(size), source] = np.where(inverted, -1.0, 1.0)
    shift[source] = inverted
    return inverse, shift, {"key_recovered": len(np.unique(source)) == size}


def _read_stem(model: "nn.Module", block: int) -> Floats:
    """Rows (outputs * blocks of a patch, block * block * C) of the first convolution, as blocks are flattened."""
    from torch import nn

    stem = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if stem is None or stem.kernel_size[0] % block:
        raise UsageError("the model does not begin with patches that hold whole blocks of the cipher")
    weight = stem.weight.detach().double().cpu().numpy()
    outputs, channels, height, width = weight.shape
    grid = weight.reshape(outputs, channels, height // block, block, width // block, block)
    return np.ascontiguousarray(grid.transpose(0, 2, 4, 3, 5, 1).reshape(-1, block * block * channels))
