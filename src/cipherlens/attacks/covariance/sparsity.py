"""How sparse pictures are: most answers of small filters to photos are tiny, and few are large.

Second-order statistics do not see that, so it tells what they leave open. A wrong map adds a little of everything
everywhere, so that flat regions are flat no more. No photos and no constants of an origin take part.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images
from cipherlens.ciphers.blockmaps import cut_blocks

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
_SCALES = 3
"""Sizes at which filters are applied, each half of the last. Chosen by hand."""
_LEAST = 0.03
"""Answers below this share of the root mean square count alike. Chosen by hand."""
_SIDE = 64
"""Side in pixels of the part of an image that is looked at: a limit on time, set by hand."""
_BLOCKS = 3_200
"""Blocks that are looked at in all: a limit on time, set by hand."""
_JUDGED = 50
"""At most this many whole pictures are compared with those of other priors: a limit on time, set by hand."""
_PARTS = 12
"""Most parts of one image, where there are few images. Set by hand."""
_DCT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3.0], [2.0], [6.0]])
_FILTERS = np.array([np.outer(_DCT[i], _DCT[j]) for i in range(3) for j in range(3) if i + j], np.float32)
"""The eight 3x3 DCT filters without a mean."""


def measure_sparsity(images: Images, block: int) -> float:
    """Sparsity of pictures (N, C, H, W), clipped to [0, 1]; lower is sparser (see :func:`_measure`)."""
    import torch

    chosen = np.clip(np.nan_to_num(images[:: -(-len(images) // _JUDGED)]), 0, 1).astype(np.float32)
    return float(_measure(torch.from_numpy(chosen), block))


class DecryptedSparsity:
    """Sparsity of the pictures that maps give, as a function of the maps.

    Parts of the ciphertexts, less the block ``mean`` (G, n), are in the frame ``into`` (G, n, n). ``out_of`` leads
    from a map's output to pixels.
    """

    def __init__(self, ct: Images, block: int, mean: Floats, into: Floats, out_of: Floats, seed: int) -> None:
        import torch

        parts = _cut_parts(ct, block, seed)
        self._shape, self._block = parts.shape, block
        blocks = cut_blocks(parts, block, joint=into.shape[1] != block * block)
        flat = blocks.reshape(len(blocks), -1, blocks.shape[-1]).astype(np.float64)
        self._blocks = torch.from_numpy(np.matmul(flat - mean[:, None], into).astype(np.float32))
        self._out_of = torch.from_numpy(out_of.astype(np.float32))

    def __call__(self, maps: Floats) -> tuple[float, Floats]:
        """Sparsity, and its gradient with respect to the maps (G, n, n)."""
        import torch

        wanted = torch.from_numpy(maps.astype(np.float32)).requires_grad_()
        found = _measure(self._merge(torch.bmm(self._blocks, wanted @ self._out_of)), self._block)
        found.backward()  # type: ignore[no-untyped-call]
        gradient = np.zeros_like(maps) if wanted.grad is None else wanted.grad.numpy().astype(np.float64)
        return float(found.detach()), gradient

    def _merge(self, blocks: "Tensor") -> "Tensor":
        """(G, blocks, n) -> pictures (N, C, H, W)."""
        count, channels, height, width = self._shape
        b, groups = self._block, len(blocks)
        grid = blocks.reshape(groups, count, height // b, width // b, channels // groups, b, b)
        return grid.permute(1, 0, 4, 2, 5, 3, 6).reshape(self._shape)


def _cut_parts(images: Images, block: int, seed: int) -> NDArray[np.float32]:
    """Parts (N, C, h, w) of whole blocks at random places, some of each image."""
    height, width = (min(side, max(_SIDE // block, 2) * block) for side in images.shape[2:])
    most = max(1, _BLOCKS * block**2 // (height * width))
    chosen = images[:: -(-len(images) // most)]
    whole = (height, width) == images.shape[2:]
    each = 1 if whole else min(_PARTS, max(1, most // len(chosen)))
    rng = np.random.default_rng(seed)
    corners = [
        rng.integers(0, (side - part) // block + 1, (len(chosen), each)) * block
        for side, part in zip(images.shape[2:], (height, width), strict=True)
    ]
    number = np.repeat(np.arange(len(chosen)), each)[:, None, None]
    rows = corners[0].reshape(-1, 1, 1) + np.arange(height)[:, None]
    columns = corners[1].reshape(-1, 1, 1) + np.arange(width)
    return np.ascontiguousarray(np.moveaxis(chosen[number, :, rows, columns], 3, 1), np.float32)


def _measure(pictures: "Tensor", block: int) -> "Tensor":
    """Mean of log(mean root of the answers, squared / mean size), over filters, sizes and places in a block.

    Each place in a block is compared with itself alone, so that energy at the borders of blocks is no gain. The
    ratio knows no contrast. Large answers count by their size, not its square, so that a few loud blocks are no
    gain either.
    """
    import torch

    filters = torch.from_numpy(_FILTERS)[:, None]
    brightness, found = pictures.mean(dim=1, keepdim=True), []
    for scale in range(_SCALES):
        period = block >> scale
        if period << scale != block or min(brightness.shape[2:]) < period + 2:
            break
        answers = _sort_by_place(torch.nn.functional.conv2d(brightness, filters), period)
        energy = (answers**2).mean(dim=(0, 2, 4), keepdim=True) + 1e-12
        sizes = (answers**2 + _LEAST**2 * energy).sqrt()
        root = 2 * sizes.sqrt().mean(dim=(0, 2, 4)).log()
        found.append((root - sizes.mean(dim=(0, 2, 4)).log()).mean())
        brightness = torch.nn.functional.avg_pool2d(brightness, 2)
    return torch.stack(found).mean()


def _sort_by_place(answers: "Tensor", period: int) -> "Tensor":
    """(N, F, H, W) -> (N, F, H / p, p, W / p, p), whole periods only."""
    count, filters, height, width = answers.shape
    rows, columns = height // period, width // period
    cut: Any = answers[:, :, : rows * period, : columns * period]
    sorted_: Tensor = cut.reshape(count, filters, rows, period, columns, period)
    return sorted_
