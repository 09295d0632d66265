"""Ciphertext-only attack on values that went anywhere in the picture, some of them inverted, under one key.

Block scrambling with inversions and exchanged colours, half bytes under another key in every block, compositions of
rearrangements: all of them put every value of a picture in one other place, the same in all pictures. Values that
are strongly related over many ciphertexts were neighbours, or colours of one pixel; a spanning tree of the surest
relations fixes the signs, and the map drawn from the relations is laid on that of public images (correlation.py).
Lower half bytes are nearly noise: they are left out, and the middle is put in their place.
"""

from typing import Any

import numpy as np

from cipherlens.attacks.base import Images, View, require_public
from cipherlens.attacks.positions.pixel_correlation import arrange, correlate
from cipherlens.attacks.shared.swaps import Floats
from cipherlens.attacks.values.signs import Signs, is_negative, propagate_signs, spanning_tree
from cipherlens.ciphers.blockmaps import merge_halves, split_halves
from cipherlens.ciphers.structure import HALVES

MOST_PLACES = 1365
"""Correlations of all pairs of 4,096 values are as much as `correlation` takes on."""
_MIDDLE = 0.5


def attack_value_correlation(view: View) -> tuple[Images, dict[str, Any]]:
    """Find where all values of the view's ciphertexts belong, and which are inverted, and put them right."""
    public = require_public(view)
    names = [part["name"] for part in view.params.get("ciphers", [{"name": view.cipher}])]
    halved = bool(set(names) & set(HALVES))
    ct, known = (split_halves(images) if halved else images for images in (view.ciphertexts, public))
    values = ct.reshape(len(ct), -1)
    inverted, strength = relate_values(values)
    upright = np.where(inverted, 1 - values, values)
    wanted = known[:, known.shape[1] // 2 :] if halved else known
    count = int(np.prod(wanted.shape[1:]))
    kept = np.sort(np.argsort(-strength)[:count])  # the upper halves are the ones that are like others
    found = arrange(correlate(_lay_out(upright[:, kept])), correlate(_lay_out(wanted)))
    images = upright[:, kept][:, found.source].reshape(len(ct), *wanted.shape[1:])
    if is_negative(images, wanted):
        images = 1 - images
    if halved:
        images = merge_halves(np.concatenate([np.full_like(images, _MIDDLE), images], axis=1))
    return images.astype(np.float32), {"objective": found.objective, "starts": found.starts}


def _lay_out(images: Images) -> Images:
    """All values of an image in one row, as if they were pixels."""
    return images.reshape(len(images), 1, 1, -1)


def relate_values(values: Images) -> tuple[Signs, Floats]:
    """Which of the values (N, n) are inverted, up to all of them, and how strongly each is related to another."""
    centred = values - values.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=0), 1e-6)
    related = centred.T @ centred
    np.fill_diagonal(related, 0)
    strength = np.abs(related)
    parent = spanning_tree(1.001 - strength)
    differs = related[np.maximum(parent, 0), np.arange(len(parent))] < 0
    return propagate_signs(parent, differs), strength.max(axis=0)


def moves_between_blocks(params: dict[str, Any]) -> bool:
    """Whether one key moves values out of their blocks: within them ``covariance`` finds all in less time."""
    return not params.get("per_image") and bool(params.get("scramble", True))
