"""Ciphertext-only attack on values that move anywhere in the picture, some of them inverted, under one key.

It covers block scrambling with inversions and exchanged colours, half bytes under another key in every block, and
compositions of rearrangements. All of them put every value of a picture in one other place, the same in all
pictures. Values that are strongly correlated over many ciphertexts were neighbours, or colours of one pixel. A
spanning tree of the strongest correlations fixes the signs. An embedding of the correlations is matched with that
of public images (pixel_correlation.py). Lower half bytes are nearly noise: they are left out and set to the middle.
"""

from typing import Any

import numpy as np

from cipherlens.attacks.base import DeclaredAttack, Found, Images, Requirements, View, require_public
from cipherlens.attacks.positions.pixel_correlation import arrange, correlate
from cipherlens.attacks.shared.swaps import Floats
from cipherlens.attacks.values.signs import Signs, is_negative, propagate_signs, spanning_tree
from cipherlens.ciphers.base import Cipher
from cipherlens.ciphers.blockmaps import split_halves
from cipherlens.ciphers.estimated_inverse import shape_of
from cipherlens.ciphers.structure import KeyStructure, Kind, Scope, Shape
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.ciphers.value_inverses import UNKNOWN, ValueInverse

MOST_PLACES = 1365
"""Maximum pixels of three colours: their 4,096 values are as many as `correlation` compares."""
_MIDDLE = 0.5
"""Value of the half bytes that are left out: the middle of [0, 1]."""


def attack_value_correlation(view: View) -> tuple[ValueInverse, dict[str, Any]]:
    """Find the places of all values of the view's ciphertexts, and which are inverted."""
    public = require_public(view)
    halved = view.structure.halves
    ct, known = (split_halves(images) if halved else images for images in (view.ciphertexts, public))
    values = ct.reshape(len(ct), -1)
    inverted, strength = relate_values(values)
    upright = np.where(inverted, 1 - values, values)
    wanted = known[:, known.shape[1] // 2 :] if halved else known
    count = int(np.prod(wanted.shape[1:]))
    kept = np.sort(np.argsort(-strength)[:count])  # upper half bytes correlate most
    found = arrange(correlate(_lay_out(upright[:, kept])), correlate(_lay_out(wanted)))
    images = upright[:, kept][:, found.source].reshape(len(ct), *wanted.shape[1:])
    source = kept[found.source]
    flips = inverted[source] ^ is_negative(images, wanted)
    if halved:
        source = np.concatenate([np.full(count, UNKNOWN), source])
        flips = np.concatenate([np.zeros(count, bool), flips])
    inverse = ValueInverse(
        shape=shape_of(view.ciphertexts),
        plain_shape=view.plain_shape,
        source=source,
        inverted=flips,
        halves=halved,
        fill=_MIDDLE,
    )
    return inverse, {"objective": found.objective, "starts": found.starts}


def _lay_out(images: Images) -> Images:
    """All values of an image in one row, like pixels."""
    return images.reshape(len(images), 1, 1, -1)


def relate_values(values: Images) -> tuple[Signs, Floats]:
    """Which of the values (N, n) are inverted, up to all of them, and the strongest correlation of each."""
    centred = values - values.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=0), 1e-6)
    related = centred.T @ centred
    np.fill_diagonal(related, 0)
    strength = np.abs(related)
    parent = spanning_tree(1.001 - strength)
    differs = related[np.maximum(parent, 0), np.arange(len(parent))] < 0
    return propagate_signs(parent, differs), strength.max(axis=0)


class ValueCorrelationAttack(DeclaredAttack):
    """The places of values that went anywhere, under one key. It cannot tell a picture from its mirror image.

    If it finds nothing, there were too few ciphertexts. It does not mean that the scheme holds.
    """

    name = "value-correlation"
    threat_model = CIPHERTEXT_ONLY
    uses_prior = True
    finds_inverse = True
    summary = "finds from many encrypted images which values vary together, wherever they went and inverted or not"
    requirements = Requirements(min_images=100, max_pixels=MOST_PLACES, public_images=True)
    alignment = "symmetries"

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """Rearrangements that move values out of their blocks. Within blocks ``covariance`` takes less time."""
        moves = structure.kind is Kind.REARRANGEMENT and structure.scope in (Scope.PIECES, Scope.IMAGE)
        return moves or structure.kind is Kind.NOTHING

    @classmethod
    def supports(cls, cipher: Cipher | None, plain_shape: Shape, sealed_shape: Shape) -> bool:
        """The same, where one key serves all images."""
        alone = cipher is not None and cipher.per_image
        return not alone and super().supports(cipher, plain_shape, sealed_shape)

    def run(self, view: View) -> Found:
        """See :func:`attack_value_correlation`."""
        return attack_value_correlation(view)
