"""Ciphertext-only attack on FFX: values around a substituted value tell what it was.

Chosen places of a block go through one secret table, the others stay. Places that correlate with the rest of a
block as in public images were left alone, and predict the others. All occurrences of an encrypted level have one
original, so the mean of their predictions over many blocks tells which. Levels are assigned to the means that
public images show. In further rounds the decrypted places help to predict each other.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import DeclaredAttack, Found, Requirements, View, require_public
from cipherlens.attacks.shared.embedding import assign
from cipherlens.ciphers.structure import KeyStructure, Kind, index_blocks
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.ciphers.value_inverses import TableInverse

Values = NDArray[np.float32]
Mask = NDArray[np.bool_]

_LEVELS = 256
"""Values of a byte."""
_RELATED = 0.5
"""Share of the correlation in public images below which a place counts as substituted. Set by hand."""
_BEST_RELATED = 80
"""Percentile of a place's shares that is compared with _RELATED. Set by hand."""
_ROUNDS = 3
"""Rounds of prediction and assignment. Set by hand."""
_RIDGE = 1e-3
"""Ridge of the regression, and the minimum correlation that is divided by. Set by hand."""


def attack_levels(view: View) -> tuple[TableInverse, dict[str, Any]]:
    """Find the substituted places and the table of the view's ciphertexts."""
    places = index_blocks(view.plain_shape, view.block)
    ct, public = (
        images.reshape(len(images), -1)[:, places].reshape(-1, places.shape[1])
        for images in (view.ciphertexts, require_public(view))
    )
    chosen, table = find_substituted(ct, public), np.arange(_LEVELS, dtype=np.uint8)
    if chosen.any() and not chosen.all():
        table = _find_table(ct, public, chosen)
    inverse = TableInverse(shape=view.plain_shape, block=view.block, chosen=chosen, table=table)
    return inverse, {"substituted": int(chosen.sum())}


def find_substituted(ct: Values, public: Values) -> Mask:
    """Which places of a block (n,) correlate less with the others in ``ct`` (blocks, n) than in ``public``."""
    seen, prior = (np.corrcoef(values + _noise(values), rowvar=False) for values in (ct, public))
    share = seen / np.where(np.abs(prior) < _RIDGE, _RIDGE, prior)
    np.fill_diagonal(share, 0.0)
    return np.asarray(np.percentile(share, _BEST_RELATED, axis=1) < _RELATED)


def _noise(values: Values) -> Values:
    """Noise that is negligible, but gives constant places a variance."""
    return np.random.default_rng(0).normal(0, 1e-4, values.shape).astype(np.float32)


def _find_table(ct: Values, public: Values, chosen: Mask) -> NDArray[np.uint8]:
    """What each level of the chosen places stood for."""
    levels, known = (np.rint((_LEVELS - 1) * values[:, chosen]).astype(np.int64) for values in (ct, public))
    found = ct.copy()
    for number in range(_ROUNDS):
        # In the first round only places that were left alone predict others.
        helpers = np.ones(len(chosen), bool) if number else ~chosen
        predicted, usual = (np.empty(levels.shape), np.empty(known.shape))
        for column, place in enumerate(np.flatnonzero(chosen)):
            others = helpers & (np.arange(len(chosen)) != place)
            weights = _regress(public[:, others], public[:, place])
            predicted[:, column], usual[:, column] = (_predict(v[:, others], weights) for v in (found, public))
        counts, means = _average(levels, predicted)
        _, expected = _average(known, usual)
        table = assign(counts[:, None] * (means[:, None] - expected[None]) ** 2)
        found[:, chosen] = (table[levels] / (_LEVELS - 1)).astype(np.float32)
    return table.astype(np.uint8)


def _regress(inputs: Values, outputs: Values) -> NDArray[np.float64]:
    """Ridge regression with a constant."""
    extended = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1).astype(np.float64)
    gram = extended.T @ extended + _RIDGE * np.eye(extended.shape[1])
    return np.asarray(np.linalg.solve(gram, extended.T @ outputs), np.float64)


def _predict(inputs: Values, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(inputs @ weights[:-1] + weights[-1])


def _average(levels: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """How often each level occurs, and the mean of the values there, interpolated between known levels."""
    counts = np.bincount(levels.ravel(), minlength=_LEVELS)
    sums = np.bincount(levels.ravel(), values.ravel(), minlength=_LEVELS)
    seen = np.flatnonzero(counts)
    return counts, np.interp(np.arange(_LEVELS), seen, sums[seen] / counts[seen])


class LevelsAttack(DeclaredAttack):
    """The table of a substitution, and the places where it acts.

    If it finds nothing, there were too few ciphertexts. It does not mean that the scheme holds.
    """

    name = "levels"
    threat_model = CIPHERTEXT_ONLY
    uses_prior = True
    finds_inverse = True
    summary = "finds from a few encrypted images what each substituted value was, by what usually lies around it"
    requirements = Requirements(public_images=True)

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """Substitutions, or plain images."""
        return structure.kind in (Kind.SUBSTITUTION, Kind.NOTHING)

    def run(self, view: View) -> Found:
        """See :func:`attack_levels`."""
        return attack_levels(view)
