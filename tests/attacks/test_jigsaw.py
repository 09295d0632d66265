"""Moved blocks are put together like a jigsaw puzzle, from ciphertexts alone."""

from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np
import pytest

pytest.importorskip("torch")

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.jigsaw.assembly import join_surest, list_candidates, scatter_pieces
from cipherlens.attacks.jigsaw.compatibility import weigh_seams
from cipherlens.attacks.jigsaw.orientation import choose_pose
from cipherlens.attacks.jigsaw.pieces import cut_pieces, join_pieces, lay_pieces, make_poses
from cipherlens.attacks.jigsaw.placement import choose_apart, exchange_pieces
from cipherlens.attacks.jigsaw.puzzle import SIDES, Placement, Puzzle, turn_placement, weigh_placement
from cipherlens.ciphers import create_cipher
from cipherlens.errors import UsageError
from cipherlens.evaluation.alignment import lay_poses, lay_poses_each
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import default_budgets, evaluate
from cipherlens.evaluation.jigsaw_scores import JigsawScores, score_placement
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key

JIGSAW = ATTACKS["jigsaw"]
TURNED, STRAIGHT = make_poses(True, 3), make_poses(False, 3)


def scenes(count: int, seed: int = 0, height: int = 32, width: int = 32) -> np.ndarray:
    """Smooth pictures with lines and noise: light above, red the brightest colour."""
    rng = np.random.default_rng(seed)
    row, column = np.indices((height, width)) / 32
    waves = np.zeros((count, 3, height, width))
    for scale in (1, 2, 4, 7):
        angle, phase = rng.uniform(0, 7, (2, count, 3, 1, 1))
        wave = np.sin(2 * np.pi * scale * (np.cos(angle) * row + np.sin(angle) * column) + phase)
        waves += wave * rng.normal(size=(count, 3, 1, 1)) / scale
    light = np.array([120.0, 105.0, 85.0])[:, None, None] + 30 * (0.5 - row)
    return np.clip(light + 35 * waves + rng.normal(0, 1, waves.shape), 0, 255).astype(np.uint8)


def make_target(name: str, plain: np.ndarray, **params: object) -> Target:
    cipher = create_cipher(name, **params)
    bound = cipher.bind(Key.generate(), plain.shape[1:])
    ct = bound.encrypt(plain, list(range(len(plain))))
    public = scenes(60, 77, *plain.shape[2:])
    return Target(cipher, plain, ct, public, "other scenes", bound)


def lay_all(pieces: np.ndarray, pose: np.ndarray) -> np.ndarray:
    return lay_pieces(pieces, TURNED, pose) * TURNED.signs[pose][:, None, None, None]


def test_poses_follow_and_undo_one_another() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 96, (2, 200))
    pieces = rng.normal(size=(1, 200, 4, 4, 3))
    both = lay_all(lay_all(pieces, one), two)
    assert np.array_equal(both, lay_all(pieces, TURNED.then[one, two]))
    assert np.array_equal(lay_all(lay_all(pieces, one), TURNED.back[one]), pieces)
    assert len(np.unique(lay_all(pieces[:, :1].repeat(96, axis=1), np.arange(96))[0], axis=0)) == 96


def test_a_step_moves_as_the_picture_does() -> None:
    """Two blocks of a picture lie beside each other in the turned picture where ``moves`` says."""
    grid = Placement(np.arange(6).reshape(2, 3), np.zeros((2, 3), np.int64))
    for way in range(96):
        turned = turn_placement(grid, TURNED, way)
        first, right, below = (np.argwhere(turned.piece == number)[0] for number in (0, 1, 3))
        assert np.array_equal(right - first, TURNED.moves[way] @ [0, 1])
        assert np.array_equal(below - first, TURNED.moves[way] @ [1, 0])
        assert (turned.pose == way).all()


def test_pieces_are_cut_and_joined() -> None:
    images = scenes(2, 1, 8, 12)
    pieces = cut_pieces(images, 4)
    assert np.array_equal(pieces[1, 4], images[1, :, 4:8, 4:8].transpose(1, 2, 0))
    assert np.array_equal(join_pieces(pieces, 8, 12), images)


@pytest.mark.parametrize(("poses", "seams"), [(TURNED, 384), (make_poses(True, 1), 64), (STRAIGHT, 2)])
def test_seams_are_those_of_the_two_sides_whatever_the_pose_of_both(poses: object, seams: int) -> None:
    assert len(poses.first) == seams
    count = len(poses.turn)
    way = np.arange(count)
    rng = np.random.default_rng(1)
    for one, two in rng.integers(0, count, (20, 2)):
        for side in (0, 1):
            steps = poses.moves[way] @ SIDES[side]
            onward = (steps >= 0).all(axis=1)
            seam = poses.seam[steps[onward, 0], poses.then[one, way[onward]], poses.then[two, way[onward]]]
            assert (seam == poses.seam[side, one, two]).all()


def test_evidence_equals_a_slow_count() -> None:
    pieces = np.random.default_rng(2).normal(0, 0.2, (2, 3, 4, 4, 3)).astype(np.float32)
    evidence = weigh_seams(pieces, TURNED)

    def look(picture: int, piece: int, pose: int, down: int, mirrored: bool) -> np.ndarray:
        """The piece as it lies, turned so that the seam is its right edge: lines (depth, place, colour)."""
        laid = lay_all(pieces[picture : picture + 1, piece : piece + 1], np.array([pose]))[0, 0]
        upright = np.rot90(laid) if down else laid
        return (upright[:, ::-1] if mirrored else upright).transpose(1, 0, 2)[::-1].astype(float)

    def surprise(ahead: np.ndarray, met: np.ndarray, common: np.ndarray) -> float:
        step, before = ahead[0] - ahead[1], ahead[1] - ahead[2]
        change = step - 0.4 * before
        spread = 0.7 * np.cov(change.T, bias=True) + 0.3 * common + np.eye(3) / 255**2
        away = met[0] - (ahead[0] + 0.4 * step + 0.6 * change.mean(axis=0))
        return float(np.log1p(np.einsum("pc,cd,pd->", away, np.linalg.inv(spread), away) / 4))

    @cache
    def share(picture: int, piece: int, pose: int) -> np.ndarray:
        """Mean covariance of all sides of a piece, as it lies."""
        laid = (look(picture, piece, TURNED.then[pose, 12 * turn], 0, False) for turn in range(4))
        return np.mean([np.cov((s[0] - 1.4 * s[1] + 0.4 * s[2]).T, bias=True) for s in laid], axis=0)

    strange = np.full((384, 3, 3), np.inf)
    for seam in range(384):
        first, second, down = TURNED.first[seam], TURNED.second[seam], TURNED.down[seam]
        for i, j in permutations(range(3), 2):
            strange[seam, i, j] = 0
            for picture in range(2):
                one, two = look(picture, i, first, down, False), look(picture, j, second, down, True)
                strange[seam, i, j] += surprise(one, two, share(picture, i, first))
                strange[seam, i, j] += surprise(two, one, share(picture, j, second))
    likely = np.exp(-2.5 * strange)
    turns = np.arange(8)
    other_end = {int(TURNED.turn[12 * t]): int(TURNED.turn[TURNED.then[12 * t, 12 * 6]]) for t in turns}
    own = TURNED.sides[:, 0]
    facing = np.array([min(t, other_end[t]) for t in TURNED.sides[:, 1].tolist()])
    for seam, i, j in ((0, 0, 1), (100, 2, 0), (383, 1, 2)):
        ours = likely[seam, i, j] / likely[own == own[seam], i].mean()
        theirs = likely[seam, i, j] / likely[facing == facing[seam], :, j].mean()
        wanted = (np.log(0.9 * ours + 0.1) + np.log(0.9 * theirs + 0.1)) / 2
        assert evidence[seam, i, j] == pytest.approx(wanted, abs=1e-3)


def make_puzzle(count: int = 2, turned: bool = True, block: int = 8) -> Puzzle:
    pieces = cut_pieces(scenes(count).astype(np.float32) / 255 - 0.5, block)
    poses = TURNED if turned else STRAIGHT
    return Puzzle(weigh_seams(pieces, poses), poses, (32 // block, 32 // block))


def test_placements_are_weighed_seam_by_seam() -> None:
    puzzle, rng = make_puzzle(), np.random.default_rng(0)
    placement = Placement(rng.permutation(16).reshape(4, 4), rng.integers(0, 96, (4, 4)))
    right, below = weigh_placement(puzzle, placement)
    for row, column in ((0, 0), (2, 1), (1, 2)):
        for found, side, (down, along) in ((right, 0, (0, 1)), (below, 1, (1, 0))):
            one, two = (row, column), (row + down, column + along)
            seam = puzzle.poses.seam[side, placement.pose[one], placement.pose[two]]
            assert found[one] == puzzle.evidence[seam, placement.piece[one], placement.piece[two]]
    turned = turn_placement(placement, TURNED, 50)
    assert sum(part.sum() for part in weigh_placement(puzzle, turned)) == pytest.approx(
        right.sum() + below.sum(), abs=0.05
    )


@pytest.mark.parametrize("seed", range(6))
def test_exchanges_find_the_best_of_all(seed: int) -> None:
    """Three apart cells of a random placement: as good as trying all orders and poses."""
    puzzle, rng = make_puzzle(), np.random.default_rng(seed)
    start = Placement(rng.permutation(16).reshape(4, 4), rng.integers(0, 96, (4, 4)))
    chosen = np.zeros((4, 4), bool)
    chosen[[0, 1, 3], [1, 3, 2]] = True

    def value(placement: Placement) -> float:
        return float(sum(part.sum() for part in weigh_placement(puzzle, placement)))

    best = -np.inf
    for order in permutations(start.piece[chosen]):
        tried = Placement(start.piece.copy(), start.pose.copy())
        tried.piece[chosen] = order
        for cell in np.argwhere(chosen):
            values = []
            for pose in range(96):
                tried.pose[tuple(cell)] = pose
                values.append(value(tried))
            tried.pose[tuple(cell)] = int(np.argmax(values))
        best = max(best, value(tried))
    found = exchange_pieces(puzzle, start, chosen)
    assert value(found) == pytest.approx(best, abs=1e-3)
    assert sorted(found.piece.ravel()) == list(range(16))


def test_apart_cells_are_apart() -> None:
    for seed in range(20):
        chosen = choose_apart((5, 7), np.random.default_rng(seed))
        assert chosen.any()
        assert not (chosen[:, :-1] & chosen[:, 1:]).any()
        assert not (chosen[:-1] & chosen[1:]).any()


@pytest.mark.parametrize("turned", [True, False])
def test_parts_never_overlap_or_outgrow_the_frame(turned: bool) -> None:
    puzzle = make_puzzle(1, turned)
    noise = np.random.default_rng(0).normal(0, 1, puzzle.evidence.shape).astype(np.float32)
    puzzle = Puzzle(noise, puzzle.poses, (2, 8))
    parts, candidates = scatter_pieces(puzzle), list_candidates(puzzle)
    join_surest(parts, candidates, np.zeros(len(candidates.evidence), np.float32))
    assert 1 <= len(parts.members) < 16
    assert sorted(np.concatenate(list(parts.members.values()))) == list(range(16))
    for pieces in parts.members.values():
        cells = parts.cell[pieces]
        size = cells.max(axis=0) - cells.min(axis=0) + 1
        assert len(np.unique(cells, axis=0)) == len(pieces)
        assert (size <= (2, 8)).all() or (turned and (size[::-1] <= (2, 8)).all())


@pytest.mark.parametrize(
    ("name", "block", "size"),
    [("block-scrambling", 4, (32, 32)), ("etc", 4, (32, 32)), ("etc", 8, (32, 32)), ("etc", 8, (24, 40))],
)
def test_one_key_for_all_is_read_from_a_few_ciphertexts(name: str, block: int, size: tuple[int, int]) -> None:
    target = make_target(name, scenes(12, 0, *size), block=block)
    result = evaluate(JIGSAW, target, 12)
    assert result.exact_values == 1
    assert score_placement(target.bound, result.details["placements"][0]) == JigsawScores(1, 1, 1)
    assert result.details["evidence"] > 1


def test_more_ciphertexts_are_more_evidence() -> None:
    puzzles = [make_puzzle(count, block=4) for count in (1, 6)]
    original = Placement(np.arange(64).reshape(8, 8), np.zeros((8, 8), np.int64))
    weights = [np.mean([part.mean() for part in weigh_placement(puzzle, original)]) for puzzle in puzzles]
    assert weights[0] + 0.05 < weights[1] <= np.log(64 * 96)


@pytest.mark.parametrize(("name", "params"), [("etc", {"per_image": True}), ("block-scrambling", {})])
def test_a_picture_alone_is_read_too(name: str, params: dict) -> None:
    target = make_target(name, scenes(6), block=8, **params)
    result = evaluate(JIGSAW, target, 1)
    assert result.n == 5
    assert result.ssim > 0.9
    assert result.guess_ssim < 0.5


def test_grey_pictures_with_channels_side_by_side() -> None:
    target = make_target("etc", scenes(30), block=8, grey=True)
    result = evaluate(JIGSAW, target, 30)
    placed = result.details["placements"][0]
    assert result.reconstruction.shape == (30, 3, 32, 32)
    assert score_placement(target.bound, placed).neighbours > 0.5


@pytest.mark.parametrize(
    ("name", "params"), [("block-scrambling", {}), ("etc", {}), ("etc", {"per_image": True}), ("identity", {})]
)
def test_controls(name: str, params: dict) -> None:
    block = {} if name == "identity" else {"block": 8}
    outcomes = {c.control: c for c in run_controls(JIGSAW, make_target(name, scenes(6), **block, **params), 5)}
    assert all(control.passed for control in outcomes.values()), outcomes
    assert outcomes["identity"].ssim > outcomes["stream"].ssim + 0.5


def test_scores_of_placements() -> None:
    bound = create_cipher("block-scrambling", block=4).bind(Key.generate(), (3, 16, 32))
    numbers = (
        np.arange(32, dtype=np.uint8).reshape(1, 1, 4, 8).repeat(3, axis=1).repeat(4, axis=2).repeat(4, axis=3)
    )
    where = np.argsort(bound.encrypt(numbers)[0, 0, ::4, ::4].ravel())  # the ciphertext's block for each cell

    def rate(piece: np.ndarray) -> JigsawScores:
        return score_placement(bound, {"piece": piece.ravel().tolist(), "pose": [0] * 32})

    grid = where.reshape(4, 8)
    assert rate(grid) == JigsawScores(1, 1, 1)
    # Moved around by two columns: nothing is in its place, all but the pairs across the cut are right.
    assert rate(np.roll(grid, 2, axis=1)) == JigsawScores(0, (28 - 4 + 24) / 52, 24 / 32)
    swapped = grid.copy()
    swapped[0, [0, 1]] = grid[0, [1, 0]]
    assert rate(swapped) == JigsawScores(30 / 32, (52 - 4) / 52, 30 / 32)
    with pytest.raises(UsageError, match="moves no whole blocks"):
        score_placement(create_cipher("shf", block=4).bind(Key.generate(), (3, 8, 8)), {"piece": [], "pose": []})


def test_scores_do_not_mind_the_pose_of_the_whole() -> None:
    target = make_target("etc", scenes(12), block=8)
    placed = evaluate(JIGSAW, target, 12).details["placements"][0]
    found = Placement(*(np.array(placed[name]).reshape(4, 4) for name in ("piece", "pose")))
    for way in (5, 31, 90):
        turned = turn_placement(found, TURNED, way)
        facts = {"piece": turned.piece.ravel(), "pose": turned.pose.ravel()}
        assert score_placement(target.bound, facts) == JigsawScores(1, 1, 1)
        facts["pose"] = TURNED.then[facts["pose"], [1] + [0] * 15]  # one block alone has other colours
        assert score_placement(target.bound, facts) == JigsawScores(15 / 16, 22 / 24, 15 / 16)


def test_the_whole_is_laid_upright_by_public_images() -> None:
    plain = scenes(30).astype(np.float32) / 255
    public = scenes(200, 5).astype(np.float32) / 255
    assert choose_pose(plain, public, TURNED) == 0
    upside_down = np.ascontiguousarray(1 - plain[:, [2, 1, 0], ::-1])
    for known in (public, None):
        way = choose_pose(upside_down, known, TURNED)
        pieces = upside_down.transpose(0, 2, 3, 1)[:, None] - 0.5
        laid = lay_all(pieces, np.array([way]))[:, 0].transpose(0, 3, 1, 2) + 0.5
        assert laid[:, :, :16].mean() > laid[:, :, 16:].mean()
        assert laid[:, 0].mean() > laid[:, 2].mean()
        assert laid.mean() < 0.5


def test_alignment_finds_the_pose_of_all_or_of_each() -> None:
    plain = scenes(5).astype(np.float32) / 255
    turned = np.rot90(1 - plain[:, [1, 2, 0]], 3, axes=(2, 3))
    assert np.allclose(lay_poses(turned, plain), plain, atol=1e-6)
    mixed = np.concatenate([turned[:2], plain[2:4, :, ::-1], plain[4:]])
    assert np.allclose(lay_poses_each(mixed, plain), plain, atol=1e-6)
    assert not np.allclose(lay_poses(mixed, plain), plain, atol=0.1)
    noise = np.random.default_rng(0).random(plain.shape, np.float32)
    assert np.abs(lay_poses_each(noise, plain) - plain).mean() > 0.2
    wide = scenes(3, 0, 16, 32).astype(np.float32) / 255
    assert np.allclose(lay_poses(wide[:, :, ::-1, ::-1], wide), wide, atol=1e-6)


def test_only_what_the_scheme_leaves_open_is_aligned() -> None:
    etc, moved, pe = (create_cipher(name).structure((3, 16, 16)) for name in ("etc", "block-scrambling", "pe"))
    assert JIGSAW.choose_alignment(moved, True) == "none"
    assert JIGSAW.choose_alignment(etc, False) == "poses"
    assert JIGSAW.choose_alignment(etc, True) == "poses each"
    assert ATTACKS["neighbours"].choose_alignment(pe, True) == "colours"


def test_limits() -> None:
    assert default_budgets(JIGSAW, 500, key_per_image=True) == [1, 10, 20]
    assert default_budgets(JIGSAW, 500) == [1, 10, 100, 500]
    large = make_target("block-scrambling", scenes(2, 0, 64, 64), block=2)
    assert JIGSAW not in large.list_attacks()
    assert JIGSAW in replace(large, cipher=create_cipher("block-scrambling", block=4)).list_attacks()
    with pytest.raises(UsageError, match="at most 3,136 pixels"):
        evaluate(JIGSAW, large, 1)
