"""Locked and folded networks at 224x224 through ONNX, at several batch sizes: error, and time beside PyTorch.

python benchmarks/measure/onnx_export.py [--out results/onnx-export.json]

Weights are random (timm, seed 0): the arithmetic is the same. Times are medians of runs that alternate.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import timm
import torch

import cipherlens as cl
from cipherlens.ciphers import Cipher
from cipherlens.keys import Key
from cipherlens.records import write_record

SHAPE = (3, 224, 224)
BATCHES = (1, 3, 8)
REPEATS = 5
MODELS: dict[str, tuple[str, Cipher]] = {
    "resnet50": ("locked", cl.create_cipher("pixel-permutation")),
    "efficientnet_b0": ("locked", cl.create_cipher("pixel-permutation")),
    "convnext_tiny": ("locked", cl.create_cipher("pixel-permutation")),
    "vit_small_patch16_224": ("folded", cl.create_cipher("hill", block=16, orthogonal=True)),
}


def convert(name: str, kind: str, cipher: Cipher) -> torch.nn.Module:
    torch.manual_seed(0)
    model, bound = timm.create_model(name, num_classes=10).eval(), cipher.bind(Key(bytes(range(32))), SHAPE)
    return cl.lock(model, bound) if kind == "locked" else cl.fold(model, bound)


def time_both(first: Callable[[], Any], second: Callable[[], Any]) -> float:
    """How many times as long as the first the second takes."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS + 1):
        for run, found in zip((first, second), seconds, strict=True):
            started = time.perf_counter()
            run()
            found.append(time.perf_counter() - started)
    return statistics.median(seconds[1][1:]) / statistics.median(seconds[0][1:])


def measure(name: str, kind: str, cipher: Cipher, folder: Path) -> dict[str, Any]:
    model, started = convert(name, kind, cipher), time.perf_counter()
    done = cl.export(model, folder / f"{name}.onnx", shape=SHAPE, contains_key=True)
    seconds = time.perf_counter() - started
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    errors, ratios = {}, {}
    for count in BATCHES:
        images = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(count))
        given = {"images": images.numpy()}
        with torch.inference_mode():
            wanted = model(images).numpy()
            found = session.run(None, given)[0]
            errors[count] = float(np.abs(found - wanted).max() / np.abs(wanted).max())
            ratios[count] = time_both(lambda: model(images), lambda: session.run(None, given))  # noqa: B023
    return {"kind": kind, "cipher": cipher.name, "errors": errors, "time_ratio": ratios, "export_seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/onnx-export.json"))
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (kind, cipher) in MODELS.items():
            results[name] = measure(name, kind, cipher, Path(folder))
            print(name, results[name], flush=True)
    found = {"shape": SHAPE, "seeds": [0], "repeats": REPEATS, "models": results}
    write_record(options.out, "python benchmarks/measure/onnx_export.py", found)


if __name__ == "__main__":
    main()
