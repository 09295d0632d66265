"""Shared fixtures: small image folders and keys."""

import json
import multiprocessing.forkserver
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cipherlens.cli.main import execute
from cipherlens.evaluation.metrics import PACKAGES
from cipherlens.keys import Key


def pytest_configure() -> None:
    """The workers of all pools of a test process come from one that has imported what takes seconds."""
    if sys.platform == "linux" and os.environ.get("PYTEST_XDIST_WORKER") and all(map(find_spec, ("torch", "timm"))):
        multiprocessing.set_forkserver_preload([*PACKAGES, "timm", "accelerate"])
        multiprocessing.forkserver.ensure_running()


def smooth_images(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """(count, 3, size, size) uint8 images with neighbouring pixels alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 3, size // 4, size // 4), dtype=np.uint8)
    return coarse.repeat(4, axis=2).repeat(4, axis=3)


def read_files(root: Path) -> dict[str, Any]:
    """The bytes of all files below a folder; of a manifest what does not differ between two equal data sets."""
    found: dict[str, Any] = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    if "manifest.json" in found:
        facts = json.loads(found["manifest.json"])
        assert len(facts["plan"].pop("id")) == 32
        found["manifest.json"] = {name: facts[name] for name in ("format", "version", "plan", "shards", "counter")}
    return found


@pytest.fixture
def key() -> Key:
    return Key(bytes(range(32)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 training and 6 test images of 16x16 in two classes."""
    root = tmp_path / "images"
    for split, count in (("train", 12), ("test", 6)):
        for number, image in enumerate(smooth_images(count, seed=count)):
            place = root / split / ("cat", "dog")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(place / f"{number:02d}.png")
    return root


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command; returns exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = execute([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
