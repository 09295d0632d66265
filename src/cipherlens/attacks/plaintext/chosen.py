"""Chosen plaintext: the victim encrypts as few pictures as determine the key, which are solved as known pairs.

For a rearrangement the pictures number the values that may change places, in digits that a value can hold. For a
matrix every block has one bright pixel.
"""

import numpy as np

from cipherlens.attacks.base import DeclaredAttack, Found, View
from cipherlens.attacks.plaintext.known import can_be_solved, require_solvable, solve_pairs
from cipherlens.ciphers.blocks import merge_blocks
from cipherlens.ciphers.structure import Bytes, KeyStructure, Kind, Layout, Shape, index_blocks
from cipherlens.ciphers.threat_models import CHOSEN_PLAINTEXT
from cipherlens.errors import UsageError

_LEVELS = 256
"""Values of a byte."""
_ROUNDS_OF_LEVELS = 2
"""Minimum pictures against `ffx`, each with the levels in other places. Set by hand."""


def attack_chosen_plaintext(view: View) -> Found:
    """Ask the view's oracle for the encrypted form of at most ``view.queries`` pictures, and solve for the key.

    ``queries`` in the details says how many were asked, ``wanted`` how many it takes. Raises UsageError without an
    oracle.
    """
    if view.oracle is None:
        raise UsageError("an attack with chosen pictures needs the victim to encrypt them")
    require_solvable(view.structure)
    images = design_queries(view)
    asked = images[: view.queries]
    found, details = solve_pairs(view, asked.astype(np.float32) / np.float32(255), view.oracle(asked))
    details.pop("pairs")
    return found, details | {"queries": len(asked), "wanted": len(images)}


def design_queries(view: View) -> Bytes:
    """Pictures (N, C, H, W) uint8 whose encrypted forms determine the key's effect."""
    shape = view.plain_shape
    structure = view.structure
    if structure.kind is Kind.SUBSTITUTION:
        return _design_levels(view, shape)
    if structure.layout is not None:
        return _number_members(structure.layout, shape)
    return _design_bright_pixels(view, shape) if structure.per_channel else _draw_pictures(view, shape)


def _number_members(layout: Layout, shape: Shape) -> Bytes:
    """Pictures in which sample s of every member is digit s of its number."""
    samples, groups, members = layout.places.shape
    base = (layout.top + 1) // 2 if layout.inverts else layout.top + 1
    digits = max(1, int(np.ceil(np.log(max(2, members)) / np.log(base) - 1e-9)))
    images = -(-digits // samples)
    places = base ** (np.arange(images * samples) % digits)
    units = (np.arange(members)[None] // places[:, None] % base).astype(np.uint8)
    return layout.merge(np.repeat(units[:, None], groups, axis=1), shape)


def _design_bright_pixels(view: View, shape: Shape) -> Bytes:
    """Block k of the sequence of all blocks shows its k-th pixel, in every channel."""
    block, (channels, height, width) = view.block, shape
    size, grid = block * block, (height // block, width // block)
    count = grid[0] * grid[1]
    images = -(-size // count)
    level = 1 if view.structure.kind is Kind.MODULAR else _LEVELS - 1
    blocks = np.resize(np.eye(size, dtype=np.uint8) * np.uint8(level), (images * count, size))
    blocks = np.broadcast_to(blocks.reshape(1, images, *grid, size), (channels, images, *grid, size))
    return np.ascontiguousarray(merge_blocks(np, blocks, block))


def _draw_pictures(view: View, shape: Shape) -> Bytes:
    """Random pictures, which determine the places of patches (by their lengths) and any matrix."""
    size = view.block**2 * shape[0]
    images = -(-size // (shape[1] * shape[2] // view.block**2)) + 1
    return np.random.default_rng(0).integers(0, _LEVELS, (images, *shape), dtype=np.uint8)


def _design_levels(view: View, shape: Shape) -> Bytes:
    """Pictures of all levels, spread over the places of the blocks, twice in different ways."""
    places = index_blocks(shape, view.block)
    images = max(_ROUNDS_OF_LEVELS, -(-_LEVELS // len(places)))
    number = np.arange(images * len(places))[:, None] + len(places) * np.arange(places.shape[1])
    flat = np.empty((images, places.size), np.uint8)
    flat[:, places] = (number % _LEVELS).astype(np.uint8).reshape(images, *places.shape)
    return flat.reshape(-1, *shape)


class ChosenPlaintextAttack(DeclaredAttack):
    """As few pictures as tell everything, encrypted by the victim.

    If it finds nothing, fewer were allowed than are ``wanted`` in the details.
    """

    name = "chosen-plaintext"
    threat_model = CHOSEN_PLAINTEXT
    finds_inverse = True
    summary = "has a few made-up pictures encrypted that number every value, and reads the key off them"

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """All that declare what they do."""
        return can_be_solved(structure)

    def run(self, view: View) -> Found:
        """See :func:`attack_chosen_plaintext`."""
        return attack_chosen_plaintext(view)
