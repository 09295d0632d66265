"""Ciphers again, as loops over images, channels, blocks and pixels."""

import numpy as np


def hill(images, matrices, block):
    """c = p @ K[channel] block by block, as the CAS771 report defines it."""
    out = np.zeros(images.shape, np.float64)
    n, channels, height, width = images.shape
    for image in range(n):
        for channel in range(channels):
            for top in range(0, height, block):
                for left in range(0, width, block):
                    patch = images[image, channel, top : top + block, left : left + block]
                    row = patch.astype(np.float64).reshape(-1) @ matrices[channel].astype(np.float64)
                    out[image, channel, top : top + block, left : left + block] = row.reshape(block, block)
    return out


def hill_mod256(images, matrices, block):
    exact = hill(images, matrices, block)
    return np.mod(exact, 256).astype(np.uint8)


def permute_pixels(images, order):
    out = np.empty_like(images)
    n, channels, _, width = images.shape
    for image in range(n):
        for channel in range(channels):
            for target, source in enumerate(order):
                out[image, channel, target // width, target % width] = images[
                    image, channel, source // width, source % width
                ]
    return out


def determinant_is_odd(matrix):
    """Determinant modulo 2 by elimination over GF(2) on Python integers."""
    rows = [sum((value & 1) << column for column, value in enumerate(row)) for row in matrix]
    for column in range(len(rows)):
        pivot = next((i for i in range(column, len(rows)) if rows[i] >> column & 1), None)
        if pivot is None:
            return False
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for i in range(column + 1, len(rows)):
            if rows[i] >> column & 1:
                rows[i] ^= rows[column]
    return True
