"""Second-order statistics of image blocks, as the covariance attack compares them between public and sealed images.

Every statistic here transforms in a known way under a block-linear cipher y = x K: means become m K and covariances
K^T C K. K is one matrix per channel, or one for all channels of a block. The activity by which blocks are
normalised does not change, because a Mahalanobis distance is the same in any linear coordinates.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.blockmaps import cut_blocks
from cipherlens.errors import DataError, ShapeError

Floats = NDArray[np.float64]
SPAN = 2
"""Neighbourhoods are SPAN x SPAN blocks: every block with its right, lower and diagonal neighbours."""
_ACTIVITY_FLOOR = 0.3
"""Limits the weight of flat regions; 0.1 and 1 (times the mean activity) both gave worse maps for photos."""
_BRIGHT = 0.99
"""Quantile of an image's pixels that sets the gain. Chosen by hand (see search.py)."""
_TINY = 1e-14
"""Share of the largest eigenvalue below which an eigenvalue counts as zero. Set by hand."""
_CHUNK = 2**24
"""Numbers held at a time for the neighbourhoods: a limit on memory, set by hand."""


@dataclass(frozen=True)
class BlockStatistics:
    """Statistics of b x b blocks of C-channel images; n = b*b pixels, blocks flattened row-major.

    With one matrix for all channels together, C is 1 and n the number of channels times b*b, channel after channel.
    ``mean`` (C, n) is the block mean. ``covariance`` (k, k), k = SPAN*SPAN*C*n, is that of activity-normalised
    neighbourhoods in the order (block of the neighbourhood, channel, pixel). ``brightness`` is the mean over the
    images of log(0.99 quantile of the pixels), which tells the contrast; ``count`` is the number of blocks.
    """

    block: int
    mean: Floats
    covariance: Floats
    brightness: float
    count: int

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.mean)

    @property
    def joint(self) -> bool:
        """Whether all channels of a block are one vector."""
        return int(self.mean.shape[1]) != self.block**2

    def displaced(self, dy: int, dx: int) -> Floats:
        """Covariance (C, n, C, n) between a block and the one dy blocks below and dx to the right; |d| < SPAN."""
        c, n = self.mean.shape
        grid = self.covariance.reshape(SPAN, SPAN, c, n, SPAN, SPAN, c, n)
        return displaced(grid, dy, dx)


def displaced(grid: Floats, dy: int, dx: int) -> Floats:
    """Mean over the pairs of a (S, S, C, n, S, S, C, n) neighbourhood covariance that lie (dy, dx) apart."""
    span = len(grid)
    places = [(y, x) for y in range(span) for x in range(span) if 0 <= y + dy < span and 0 <= x + dx < span]
    return np.asarray(np.mean([grid[y, x, :, :, y + dy, x + dx] for y, x in places], axis=0), np.float64)


def block_statistics(images: NDArray[Any], block: int, joint: bool = False) -> BlockStatistics:
    """Statistics of images (N, C, H, W), floats (plain pixels in [0, 1], or a ciphertext), on the block grid.

    ``joint``: the channels of a block are one vector, as where a cipher mixes them. Raises ShapeError for sides
    that are no multiple of the block or hold fewer than 2 x 2 blocks. Raises DataError for images that do not vary
    or hold values that are not finite.
    """
    _check(images, block)
    blocks = cut_blocks(images, block, joint)
    channels, n, rows, columns, size = blocks.shape
    flat = blocks.reshape(channels, -1, size).astype(np.float64)
    mean = flat.mean(axis=1)
    flat -= mean[:, None]
    roots = [whitening(f.T @ f / len(f), min(size, len(f) - 1)) for f in flat]
    whitened = np.matmul(flat, np.stack([w for w, _ in roots])).astype(np.float32)
    whitened = whitened.reshape(channels, n, rows, columns, size)
    activity = _smooth(np.mean(whitened**2, axis=(0, -1)))
    whitened /= np.sqrt(activity + np.float32(_ACTIVITY_FLOOR))[None, ..., None]
    covariance = transform(_neighbourhood_covariance(whitened), np.stack([r for _, r in roots]))
    return BlockStatistics(block, mean, covariance, brightness(images), n * rows * columns)


def brightness(images: NDArray[Any]) -> float:
    """Mean over images of log(0.99 quantile of all pixels of an image)."""
    quantile = np.quantile(np.asarray(images, np.float32).reshape(len(images), -1), _BRIGHT, axis=1)
    return float(np.mean(np.log(np.maximum(quantile, 1e-3))))


def whitening(covariance: Floats, rank: int) -> tuple[Floats, Floats]:
    """Symmetric (C^-1/2, C^1/2) on the ``rank`` leading eigenvectors; the others are sent to zero."""
    values, vectors = np.linalg.eigh(covariance)
    if not values[-1] > 0:
        raise DataError("the images do not vary from block to block", hint="use images that are not constant")
    kept = (np.arange(len(values)) >= len(values) - rank) & (values > _TINY * values[-1])
    root = np.sqrt(np.where(kept, values, 1.0))
    inverse = np.where(kept, 1 / root, 0.0)
    return (vectors * inverse) @ vectors.T, (vectors * np.where(kept, root, 0.0)) @ vectors.T


def transform(covariance: Floats, matrices: Floats) -> Floats:
    """T^T S T for a neighbourhood covariance S, with T applying ``matrices`` (C, n, m) to every block."""
    channels, n, _ = matrices.shape
    rows = covariance.reshape(-1, channels, n, len(covariance))
    half = np.matmul(matrices.transpose(0, 2, 1), rows).reshape(-1, len(covariance))
    columns = half.T.reshape(-1, channels, n, len(half))
    whole = np.matmul(matrices.transpose(0, 2, 1), columns).reshape(-1, len(half)).T
    return np.asarray((whole + whole.T) / 2, np.float64)


def _check(images: NDArray[Any], block: int) -> None:
    if images.ndim != 4 or len(images) == 0:
        raise ShapeError(f"images must be (N, C, H, W), not {images.shape}", hint="stack images of one size")
    if not np.isfinite(images).all():
        raise DataError("some pixels are not finite numbers", hint="leave out damaged images")
    height, width = images.shape[2:]
    if height % block or width % block or min(height, width) < SPAN * block:
        raise ShapeError(
            f"{height}x{width} images do not hold 2 x 2 or more whole blocks of {block}x{block}",
            hint=f"crop or resize to multiples of {block}, at least {SPAN * block} on each side",
        )


def _smooth(activity: NDArray[Any]) -> NDArray[Any]:
    """Mean over 3 x 3 blocks of (N, rows, columns), borders repeated."""
    padded = np.pad(activity, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return np.asarray((rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9)


def _neighbourhood_covariance(blocks: NDArray[np.float32]) -> Floats:
    """Second moments (k, k) of the SPAN x SPAN neighbourhoods of centred blocks (C, N, rows, columns, n)."""
    channels, images, rows, columns, size = blocks.shape
    k, places = SPAN * SPAN * channels * size, (rows - SPAN + 1) * (columns - SPAN + 1)
    total = np.zeros((k, k))
    # The neighbourhoods of a few images at a time, because together they are SPAN*SPAN times as large.
    step = max(1, _CHUNK // (places * k))
    for first in range(0, images, step):
        part = blocks[:, first : first + step]
        corners = [
            part[:, :, y : y + rows - SPAN + 1, x : x + columns - SPAN + 1]
            for y in range(SPAN)
            for x in range(SPAN)
        ]
        flat = np.ascontiguousarray(np.stack(corners).transpose(2, 3, 4, 0, 1, 5)).reshape(-1, k)
        total += flat.T @ flat
    return np.asarray(total / (images * places), np.float64)
