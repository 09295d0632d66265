"""Test photos of a source, for benchmarks."""

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.sources.registry import open_source


def read_photos(source: str, count: int) -> NDArray[np.uint8]:
    """At most ``count`` test images (N, C, H, W), evenly spread."""
    opened = open_source(source)
    items = opened.read("test", pick_evenly(opened.splits["test"], count).tolist())
    return np.stack([item.decode() for item in items])
