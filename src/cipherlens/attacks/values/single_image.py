"""Feature reconstruction (see arXiv 2010.06198): inverted values and exchanged colours of each picture alone.

No key, pair, label or second picture is needed, so a key for every image is no help against it. It cannot tell a
picture from its negative, nor where a picture crosses the middle grey: there its result is folded. Scored after the
best affine map for each image and channel.
"""

from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import DeclaredAttack, Found, Images, View
from cipherlens.ciphers.structure import KeyStructure, Kind, Order, Scope
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY

_VALUES = 20_000_000
"""Approximate values of candidates held at a time: a limit on memory, set by hand."""
_FOLDED = 0.25
"""Minimum SSIM in the identity control: a picture folded at the middle grey keeps so much. Chosen by hand."""


def attack_features(view: View) -> tuple[Images, dict[str, Any]]:
    """The basic variant: inverts all bright values."""
    return np.minimum(view.ciphertexts, 1 - view.ciphertexts), {}


def attack_differences(view: View) -> tuple[Images, dict[str, Any]]:
    """The minimum-difference variant: each value as near as it can be to those found to its left and above.

    For merely inverted values it equals the basic variant, because two values differ least if both are on one side
    of the middle grey.
    """
    (count, channels, height, width), layout = view.ciphertexts.shape, view.structure.layout
    orders = _list_orders(channels, moves=layout is not None and layout.moves)
    choices = len(orders) * 2**channels
    step = max(1, _VALUES // (choices * channels * min(height, width)))
    parts = [_reconstruct(view.ciphertexts[start : start + step], orders) for start in range(0, count, step)]
    return np.concatenate(parts), {"choices": choices}


def _list_orders(channels: int, moves: bool) -> Order:
    """Orders of the colours (k, C) that a pixel may have."""
    return np.array(list(permutations(range(channels))) if moves else [range(channels)])


def _reconstruct(images: Images, orders: Order) -> Images:
    """Reconstruct one diagonal after the other: their pixels depend only on those of earlier ones."""
    count, channels, height, width = images.shape
    flips = np.array(np.meshgrid(*[[False, True]] * channels, indexing="ij")).reshape(channels, -1).T
    found = np.zeros((count, channels, height + 1, width + 1), np.float32)
    for diagonal in range(height + width - 1):
        rows = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        columns = diagonal - rows
        values = images[:, :, rows, columns].transpose(0, 2, 1)
        candidates = _list_candidates(values, orders, flips)
        known = (rows > 0).astype(np.float32) + (columns > 0)
        near = found[:, :, rows, columns + 1] + found[:, :, rows + 1, columns]
        target = (near / np.maximum(known, 1)).transpose(0, 2, 1) if diagonal else np.full_like(values, 0.5)
        distance = np.abs(candidates - target[:, :, None]).sum(axis=3)
        best = np.take_along_axis(candidates, distance.argmin(axis=2)[:, :, None, None], axis=2)[:, :, 0]
        found[:, :, rows + 1, columns + 1] = best.transpose(0, 2, 1)
    return found[:, :, 1:, 1:]


def _list_candidates(values: Images, orders: Order, flips: NDArray[np.bool_]) -> Images:
    """All values (N, pixels, choices, C) that pixels (N, pixels, C) may have had."""
    moved = values[:, :, orders]
    either = np.where(flips[:, None], 1 - moved[:, :, None], moved[:, :, None])
    candidates: Images = either.reshape(*values.shape[:2], -1, values.shape[2])
    return candidates


class _SingleImageAttack(DeclaredAttack):
    """An attack on one picture after the other, which works under a key per image too."""

    threat_model = CIPHERTEXT_ONLY
    alignment = "affine each"
    min_control_ssim = _FOLDED

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """Rearrangements that keep values in their pixel, each pixel under its own secret."""
        return structure.kind is Kind.REARRANGEMENT and structure.scope is Scope.PIXELS


class FeaturesAttack(_SingleImageAttack):
    """The basic variant.

    If it finds nothing, the pictures may still fall to attacks on several ciphertexts.
    """

    name = "feature-reconstruction"
    summary = "takes each picture alone and inverts all bright values"

    def run(self, view: View) -> Found:
        """See :func:`attack_features`."""
        return attack_features(view)


class DifferencesAttack(_SingleImageAttack):
    """The minimum-difference variant.

    If it finds nothing, the pictures may still fall to attacks on several ciphertexts.
    """

    name = "minimum-difference"
    summary = "takes each picture alone and gives every pixel the possible value that fits its neighbours best"

    def run(self, view: View) -> Found:
        """See :func:`attack_differences`."""
        return attack_differences(view)
