"""Priors measured on photos of several origins, for whoever has no photos: no picture can be made of them.

Each is a covariance of neighbouring pixels, which says how cameras, resizing and JPEG shape pictures. The photos
were Imagenette's and CamVid's (docs/attacks/covariance.md). ``benchmarks/measure/measured_priors.py`` writes
the file.
"""

from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.covariance.prior import parametric_statistics
from cipherlens.attacks.covariance.statistics import SPAN, BlockStatistics

Floats = NDArray[np.float64]
ORIGINS = ("imagenette", "camvid")
"""Whose photos were measured."""
STORED = ("photos", "jpeg")
"""Photos as they are and reduced, and the same stored as JPEG at the size that is sealed."""
BLOCKS = (4, 8)
"""Sides of blocks for which there are measured priors."""
TO_COLOURS = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
"""RGB to brightness and two colour differences, as in JPEG. They are described apart: they hardly correlate."""
_FILE = "measured_priors.npz"
_LEAST = 1e-6
"""Share of the mean variance below which no direction has less: rounding may make it negative. Set by hand."""


def measured_statistics(origin: str, form: str, block: int, channels: int, joint: bool = False) -> BlockStatistics:
    """Block statistics of an origin in a form (``STORED``), for blocks of a side in ``BLOCKS``, of 1 or 3 channels.

    Means and brightness are those of ``parametric_statistics``.
    """
    stored, common = _load(), parametric_statistics(block, channels, joint)
    place = f"{origin}/{form}/{block}"
    parts = [
        _unpack(deviations, correlations, block)
        for deviations, correlations in zip(stored[f"{place}/std"], stored[f"{place}/corr"], strict=True)
    ]
    mixed = np.eye(1) if channels == 1 else np.linalg.inv(TO_COLOURS)
    pixels = np.einsum("epq,ce,de->cpdq", np.stack(parts[:channels]), mixed, mixed, optimize=True)
    side = SPAN * block
    grid = pixels.reshape((channels, SPAN, block, SPAN, block) * 2).transpose(1, 3, 0, 2, 4, 6, 8, 5, 7, 9)
    covariance = grid.reshape(channels * side**2, -1)
    scale = np.trace(common.covariance) / np.trace(covariance)
    return BlockStatistics(block, common.mean, scale * covariance, common.brightness, common.count)


def list_other_origins(source: str) -> list[str]:
    """``ORIGINS`` without that of a source such as DIR/imagenette-224."""
    return [origin for origin in ORIGINS if not Path(source).name.lower().startswith(origin)]


def pack(covariance: Floats, block: int) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """A covariance (P, P) of the pixels of SPAN x SPAN blocks, row by row, as deviations and correlations.

    What is not the same in a mirror is left out. Returns (4, P / 4) and (4, pairs), one row for each symmetry.
    """
    deviations, correlations = [], []
    for basis in symmetries(block):
        part = basis @ covariance @ basis.T
        deviation = np.sqrt(np.maximum(np.diag(part), 1e-12))
        deviations.append(deviation)
        correlations.append((part / np.outer(deviation, deviation))[np.triu_indices(len(part), 1)])
    return np.array(deviations, np.float32), np.array(correlations, np.float16)


def _unpack(deviations: Floats, correlations: Floats, block: int) -> Floats:
    """The covariance (P, P) of :func:`pack`."""
    total = np.zeros((1, 1))
    for basis, deviation, pairs in zip(symmetries(block), deviations, correlations, strict=True):
        part = np.zeros((len(basis), len(basis)))
        part[np.triu_indices(len(basis), 1)] = pairs
        part = (part + part.T + np.eye(len(basis))) * np.outer(deviation, deviation).astype(np.float64)
        values, vectors = np.linalg.eigh(part)
        total = total + basis.T @ (vectors * np.maximum(values, _LEAST * values.mean())) @ vectors.T @ basis
    return total


def symmetries(block: int) -> Iterator[Floats]:
    """Bases (P / 4, P) of pictures of SPAN x SPAN blocks that are even or odd in either direction."""
    u, x = np.arange(block)[:, None], np.arange(block)[None]
    cosines = np.cos(np.pi * (2 * x + 1) * u / (2 * block)) * np.where(u, np.sqrt(2), 1) / np.sqrt(block)
    mirrored = (-1.0) ** u * cosines
    lines = [np.hstack([cosines, sign * mirrored]) / np.sqrt(2) for sign in (1, -1)]
    return (np.kron(vertical, across) for vertical in lines for across in lines)


@lru_cache(1)
def _load() -> dict[str, NDArray[np.float32]]:
    with (files("cipherlens.attacks.covariance") / _FILE).open("rb") as file, np.load(file) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}
