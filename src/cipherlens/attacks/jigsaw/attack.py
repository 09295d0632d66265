"""Ciphertext-only attack on moved blocks, which solves a jigsaw puzzle.

Chuman, Kurihara and Kiya (ICASSP 2017; IEICE Trans. E101-D, 2018) extended jigsaw solvers to blocks that are
turned, mirrored, inverted and recoloured. Here the evidence of all pictures under one key is summed, and one puzzle
is solved for all of them. With a key per image every picture is solved separately.
"""

from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import DeclaredAttack, Found, Images, Requirements, View
from cipherlens.attacks.jigsaw.compatibility import weigh_seams
from cipherlens.attacks.jigsaw.orientation import choose_pose
from cipherlens.attacks.jigsaw.pieces import Poses, cut_pieces, join_pieces, lay_pieces, make_poses
from cipherlens.attacks.jigsaw.puzzle import Placement, Puzzle, turn_placement
from cipherlens.attacks.jigsaw.solver import solve_puzzle
from cipherlens.ciphers.estimated_inverse import shape_of
from cipherlens.ciphers.structure import KeyStructure, Kind, Scope
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.ciphers.value_inverses import ValueInverse
from cipherlens.errors import UsageError

MOST_BLOCKS = 784
"""Maximum blocks of an image, a limit on memory: the evidence for all their pairs and poses takes 1 GB."""
MOST_ALONE = 20
"""Maximum images attacked where each has its own key: a limit on time, set by hand."""
_MOST_PICTURES = 100
"""Maximum pictures whose evidence is summed; more of them added nothing in our trials."""
_NOTED = 20
"""Maximum placements listed in the details. Set by hand."""
_EASY_BLOCKS = 256
"""Maximum blocks into which plain images of the identity control are cut. Set by hand."""
_ALONE = 0.5
"""Minimum SSIM in the identity control: blank blocks fit anywhere, and some seams lie on edges. Chosen by hand."""


def attack_jigsaw(view: View) -> Found:
    """Put the blocks of the view's ciphertexts back.

    The details hold the ``placements`` of the first puzzles. For each cell of the frame, row by row, ``piece`` is
    the number of the ciphertext's block there. ``pose`` is the number of its pose in ``make_poses``. ``evidence``
    is the mean over all seams of the log of their likelihood relative to chance.
    """
    ciphertexts = view.ciphertexts
    poses = make_poses(view.structure.turns, ciphertexts.shape[1])
    public = view.public_images
    if public is not None and view.plain_shape[0] != ciphertexts.shape[1]:
        public = _join_channels(public)
    groups = np.split(ciphertexts, len(ciphertexts)) if view.key_per_image else [ciphertexts]
    block = _find_block(view)
    solved = [_solve(group, block, public, poses, view.seed) for group in groups]
    found = np.concatenate([images for images, _, _ in solved])
    placements = [
        {"piece": placement.piece.ravel().tolist(), "pose": placement.pose.ravel().tolist()}
        for _, placement, _ in solved[:_NOTED]
    ]
    details = {"placements": placements, "evidence": float(np.mean([evidence for _, _, evidence in solved]))}
    if not view.key_per_image:
        return _read_map(view, block, solved[0][1], poses), details
    return _split_channels(found, view.plain_shape[0]), details


def _read_map(view: View, block: int, placement: Placement, poses: Poses) -> ValueInverse:
    """The map of a placement, read off an image whose values are their own places."""
    shape = shape_of(view.ciphertexts)
    places = (np.arange(np.prod(shape), dtype=np.float64) + 1).reshape(1, *shape)  # signs tell inversions
    laid = _lay(cut_pieces(places, block), placement, poses)
    ordered = _split_channels(laid, view.plain_shape[0]).ravel()
    source = np.rint(np.abs(ordered)).astype(np.int64) - 1
    return ValueInverse(shape=shape, plain_shape=view.plain_shape, source=source, inverted=ordered < 0)


def _find_block(view: View) -> int:
    """The scheme's block side; for plain images the least from 4 on that gives at most _EASY_BLOCKS blocks."""
    if view.structure.block is not None:
        return view.structure.block
    height, width = view.ciphertexts.shape[2:]
    common = gcd(height, width)
    for block in range(view.block, common + 1):
        if common % block == 0 and height * width <= _EASY_BLOCKS * block**2:
            return block
    raise UsageError(
        f"{height}x{width} images cannot be cut into square blocks", hint="use another size", parameters=("size",)
    )


def _solve(
    images: Images, block: int, public: Images | None, poses: Poses, seed: int
) -> tuple[Images, Placement, float]:
    """Solve the puzzle that all images (M, C, H, W) share: the images put together, how, and the evidence."""
    height, width = images.shape[2:]
    pieces = cut_pieces(images - np.float32(0.5), block)
    chosen = np.unique(np.linspace(0, len(pieces) - 1, _MOST_PICTURES).astype(np.int64))
    puzzle = Puzzle(weigh_seams(pieces[chosen], poses), poses, (height // block, width // block))
    placement, evidence = solve_puzzle(puzzle, seed)
    way = choose_pose(_put_together(pieces, placement, poses), public, poses)
    placement = turn_placement(placement, poses, way)
    return _put_together(pieces, placement, poses), placement, evidence


def _put_together(pieces: Images, placement: Placement, poses: Poses) -> Images:
    """Centred pieces (M, N, B, B, C) -> images (M, C, H, W) in [0, 1]."""
    return np.asarray(_lay(pieces, placement, poses) + np.float32(0.5))


def _lay(pieces: NDArray[Any], placement: Placement, poses: Poses) -> NDArray[Any]:
    """Pieces (M, N, B, B, C) in their cells and poses, inverted by sign: (M, C, H, W)."""
    pose, block = placement.pose.ravel(), pieces.shape[2]
    laid = lay_pieces(pieces[:, placement.piece.ravel()], poses, pose) * poses.signs[pose][:, None, None, None]
    rows, columns = placement.piece.shape
    return np.asarray(join_pieces(laid, rows * block, columns * block))


def _join_channels(images: Images) -> Images:
    """(M, C, H, W) -> (M, 1, H, C * W): the channels side by side."""
    count, channels, height, width = images.shape
    return images.transpose(0, 2, 1, 3).reshape(count, 1, height, channels * width)


def _split_channels(images: Images, channels: int) -> Images:
    """Inverse of :func:`_join_channels`; images that have all their channels are left alone."""
    if images.shape[1] == channels:
        return images
    count, _, height, _ = images.shape
    return np.ascontiguousarray(images.reshape(count, height, channels, -1).transpose(0, 2, 1, 3))


class JigsawAttack(DeclaredAttack):
    """Blocks that moved as wholes, also turned, inverted and with other colours, and under a key per image.

    If it finds nothing, blocks are too alike, or pictures too few. It does not mean that the scheme holds.
    """

    name = "jigsaw"
    threat_model = CIPHERTEXT_ONLY
    uses_prior = True
    finds_inverse = True
    summary = "puts the blocks of encrypted images together by their edges, like a jigsaw puzzle"
    requirements = Requirements(max_blocks=MOST_BLOCKS, max_images_per_image_key=MOST_ALONE)
    alignment = "poses"
    min_control_ssim = _ALONE

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """Whole blocks that move, or plain images."""
        return structure.kind is Kind.NOTHING or (
            structure.kind is Kind.REARRANGEMENT and structure.scope is Scope.PIECES
        )

    def run(self, view: View) -> Found:
        """See :func:`attack_jigsaw`."""
        return attack_jigsaw(view)

    def choose_alignment(self, structure: KeyStructure, key_per_image: bool) -> str:
        """Pieces that are turned leave the pose of the whole open, for each image where each has its own key."""
        return "none" if not structure.turns else "poses each" if key_per_image else "poses"
