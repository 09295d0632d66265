"""Ciphertext-only attack on inverted values and exchanged colours under one key: neighbours vary together.

Over many pictures a value and its neighbour are bright and dark together. If one of them was inverted, it is dark
when the other is bright. The strongest such correlations that connect all values (a maximum spanning tree) fix all
signs up to a common one. The brightness of natural images fixes that one. Colours of neighbouring pixels are
matched in the same way, along a tree. The colours of public images fix their order. One picture alone tells less:
see single_image.py.
"""

from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import DeclaredAttack, Found, Images, View
from cipherlens.attacks.shared.graph import link
from cipherlens.ciphers.structure import KeyStructure, Kind, Order
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.ciphers.value_inverses import ValueInverse

Signs = NDArray[np.bool_]

_NATURAL_MEAN = 0.46
"""Mean brightness of photos in units of [0, 1], used without public images. Set by hand."""
_BINS = 64
"""Bins of the histograms of brightness. Set by hand."""
_PRODUCTS = 20_000_000
"""Products computed at a time: a limit on memory, set by hand."""


def attack_neighbours(view: View) -> tuple[ValueInverse, dict[str, Any]]:
    """Find how to undo the inversions, and exchanged colours, of the view's ciphertexts, all under one key."""
    layout = view.structure.layout
    moves = layout is not None and layout.moves
    units = np.arange(np.prod(view.plain_shape))
    if layout is not None and not moves:
        units[layout.places] = np.arange(layout.places.shape[1])[:, None]  # alike in every block
    inverted = find_signs(view.ciphertexts, units.reshape(view.plain_shape), moves)
    upright = np.where(inverted, 1 - view.ciphertexts, view.ciphertexts)
    if is_negative(upright, view.public_images):
        upright, inverted = 1 - upright, ~inverted
    source: Order = np.arange(inverted.size).reshape(inverted.shape)
    if moves:
        colours = _order_colours(upright, view.public_images)
        source = np.take_along_axis(source, colours, axis=0)
        inverted = np.take_along_axis(inverted, colours, axis=0)
    shape = view.plain_shape
    inverse = ValueInverse(shape=shape, plain_shape=shape, source=source.ravel(), inverted=inverted.ravel())
    return inverse, {}


def is_negative(images: Images, public: Images | None) -> bool:
    """Whether the negatives of the images have the more natural brightness.

    With public images that is the likelier one under their histogram. Without any, it is the one whose mean is
    nearer to that of photos.
    """
    grey = images.mean(axis=1)
    if public is None:
        return bool(abs(1 - grey.mean() - _NATURAL_MEAN) < abs(grey.mean() - _NATURAL_MEAN))
    counts = [np.histogram(part, _BINS, (0, 1))[0] for part in (public.mean(axis=1), grey)]
    likelihood = np.log(counts[0] + 1.0)
    return bool(counts[1][::-1] @ likelihood > counts[1] @ likelihood)


def find_signs(images: Images, units: Order, moves: bool) -> Signs:
    """Which values (C, H, W) are inverted in images (N, C, H, W), up to all of them.

    ``units`` (C, H, W): values with the same number have the same sign. ``moves``: colours may be exchanged.
    """
    first, second = _list_pairs(images.shape[1:], moves)
    centred = (images - np.float32(0.5)).reshape(len(images), -1)
    together = np.zeros(len(first), np.float32)
    for part in np.array_split(centred, -(-len(centred) * len(first) // _PRODUCTS)):
        together += np.einsum("ne,ne->e", part[:, first], part[:, second])
    number = units.ravel()
    low, high = np.minimum(number[first], number[second]), np.maximum(number[first], number[second])
    count, apart = int(number.max()) + 1, low != high
    evidence = link(together[apart], low[apart], high[apart], count)
    evidence.sum_duplicates()
    trust = np.abs(evidence.data)
    distance = evidence.copy()
    distance.data = 1 + trust.max() - trust  # the surest pair is the nearest
    parent = spanning_tree(distance)
    ways = np.maximum(parent, 0), np.arange(count)
    related = np.asarray(evidence[np.minimum(*ways), np.maximum(*ways)]).ravel()
    signs = propagate_signs(parent, related < 0)
    return np.asarray(signs[units])


def _list_pairs(shape: tuple[int, ...], moves: bool) -> tuple[Order, Order]:
    """Pairs of values of an image (C, H, W) that are correlated: neighbours, and the colours of a pixel."""
    channels, places = shape[0], np.arange(int(np.prod(shape))).reshape(shape)
    pairs = []
    for c in range(channels):
        for d in range(channels) if moves else [c]:
            pairs += [(places[c, :, :-1], places[d, :, 1:]), (places[c, :-1], places[d, 1:])]
        pairs += [(places[c], places[d]) for d in range(c + 1, channels)]
    first, second = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    return first, second


def spanning_tree(distance: Any) -> NDArray[np.int32]:
    """Parent of every unit (negative at the root) on the minimum spanning tree of distances (n, n), also sparse."""
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

    tree = minimum_spanning_tree(distance)
    parent: NDArray[np.int32] = breadth_first_order(tree, 0, directed=False)[1]
    return parent


def propagate_signs(parent: NDArray[np.int32], differs: Signs) -> Signs:
    """Signs of all units: products along their paths to the root, in steps that double in length."""
    ancestor, signs = parent.copy(), differs & (parent >= 0)
    root = int(np.flatnonzero(parent < 0)[0])
    ancestor[parent < 0] = root
    while (ancestor != root).any():
        signs = signs ^ signs[ancestor]
        ancestor = ancestor[ancestor]
    return signs


def _order_colours(images: Images, public: Images | None) -> Order:
    """The order (C, H, W) of the colours of each pixel that brings all into that of the public images."""
    channels, height, width = images.shape[1:]
    orders = np.array(list(permutations(range(channels))))
    rest = images - images.mean(axis=1, keepdims=True)
    # Down the first column, then along the rows: every pixel is compared with one that comes before it.
    down = _compare(rest[:, :, :-1, 0], rest[:, :, 1:, 0], orders)
    along = _compare(rest[:, :, :, :-1], rest[:, :, :, 1:], orders)
    order = np.empty((height, width, channels), np.int64)
    order[0, 0] = np.arange(channels)
    for row in range(1, height):
        order[row, 0] = down[row - 1][order[row - 1, 0]]
    for column in range(1, width):
        order[:, column] = np.take_along_axis(along[:, column - 1], order[:, column - 1], axis=1)
    own: Order = order.transpose(2, 0, 1)
    return np.asarray(own[_name_colours(np.take_along_axis(images, own[None], axis=1), public)])


def _name_colours(images: Images, public: Images | None) -> Order:
    """The order (C,) of the channels that makes the colours most likely among those of the public images.

    Without public images: red is the brightest and blue the darkest of natural colours, on the average.
    """
    channels = images.shape[1]
    pixels = images.transpose(1, 0, 2, 3).reshape(channels, -1)
    if public is None:
        return np.argsort(-pixels.mean(axis=1))
    known = public.transpose(1, 0, 2, 3).reshape(channels, -1)
    precision = np.linalg.inv(np.atleast_2d(np.cov(known)) + 1e-6 * np.eye(channels))
    away = pixels.mean(axis=1), np.atleast_2d(np.cov(pixels))

    def unlikely(order: tuple[int, ...]) -> float:
        shift = away[0][list(order)] - known.mean(axis=1)
        return float(np.sum(precision * (away[1][np.ix_(order, order)] + np.outer(shift, shift))))

    return np.array(min(permutations(range(channels)), key=unlikely))


def _compare(first: Images, second: Images, orders: Order) -> Order:
    """For pixels (N, C, ...) of two places: the colour of the second (..., C) that matches each of the first."""
    products = np.einsum("nc...,nd...->...cd", first, second)
    scores = products[..., np.arange(products.shape[-1]), orders].sum(axis=-1)
    return np.asarray(orders[scores.argmax(axis=-1)])


class NeighboursAttack(DeclaredAttack):
    """Which values are inverted, under one key. It cannot tell a picture from its negative, nor its colours apart.

    If it finds nothing, there were too few ciphertexts. It does not mean that the scheme holds.
    """

    name = "neighbours"
    threat_model = CIPHERTEXT_ONLY
    uses_prior = True
    finds_inverse = True
    summary = "finds from a few encrypted images which values are dark where their neighbours are bright"
    alignment = "colours"

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """Rearrangements that keep values in their pixel, or plain images."""
        return structure.keeps_pixels or structure.kind is Kind.NOTHING

    def run(self, view: View) -> Found:
        """See :func:`attack_neighbours`."""
        return attack_neighbours(view)
