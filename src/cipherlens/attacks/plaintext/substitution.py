"""Known plaintext against FFX: the places of a block that are substituted, and the table."""

from typing import Any

import numpy as np

from cipherlens.ciphers.structure import Bytes, Shape, index_blocks
from cipherlens.ciphers.value_inverses import TableInverse

_LEVELS = 256
"""Values of a byte."""


def solve_substitution(plain: Bytes, ct: Bytes, block: int) -> tuple[TableInverse, dict[str, Any]]:
    """The substitution that pairs (N, C, H, W) uint8 show.

    A place of a block is substituted if any value changed there. Levels that no pair shows at such a place keep
    their value, and are counted in the details.
    """
    shape: Shape = (int(plain.shape[1]), int(plain.shape[2]), int(plain.shape[3]))
    places = index_blocks(shape, block)
    known, seen = (images.reshape(len(images), -1)[:, places] for images in (plain, ct))
    chosen = (known != seen).any(axis=(0, 1))
    table, shown = np.arange(_LEVELS, dtype=np.uint8), np.zeros(_LEVELS, bool)
    table[seen[..., chosen]] = known[..., chosen]
    shown[seen[..., chosen]] = True
    unseen = int((~shown).sum())
    details = {"substituted": int(chosen.sum()), "unsure": unseen, "key_recovered": unseen == 0}
    return TableInverse(shape=shape, block=block, chosen=chosen, table=table), details
