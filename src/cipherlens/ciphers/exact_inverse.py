"""The exact inverse from the key, in the form of an estimated one: the upper bound of attacks."""

import numpy as np

from cipherlens.ciphers.base import BoundCipher
from cipherlens.ciphers.estimated_inverse import BlockInverse
from cipherlens.ciphers.schemes.hill import BoundHill
from cipherlens.errors import UsageError


def invert(bound: BoundCipher) -> BlockInverse:
    """The map that decrypts images under a Hill key. Raises UsageError for other ciphers."""
    if not isinstance(bound, BoundHill):
        raise UsageError("only a hill cipher has an inverse that an adaptation network can hold")
    matrices = np.asarray(bound.inverses, np.float64)
    offsets = np.zeros(matrices.shape[:2])
    return BlockInverse(shape=bound.ct_shape, block=bound.cipher.block, matrices=matrices, offsets=offsets)
