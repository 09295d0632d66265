"""Folded networks against plain ones: python benchmarks/fold_equality.py --out results/fold-equality.json

Networks with random weights, generated images at 224x224, every cipher that folds. Logits, decisions (after the
mean logits are taken away: a random network calls all images the same), seconds to fold, and the time of a batch of
8, medians of rounds in random turns, as a ratio to the plain network.
"""

import argparse
import random
import statistics
import time
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

import cipherlens as cl
from cipherlens.audit.records import write_record
from cipherlens.data.synthetic import generate
from cipherlens.memory import keep_freed_memory
from locked_equality import compare_decisions

SIDE, BATCH, ROUNDS = 224, 16, 10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODELS = {
    "vit_tiny_patch16_224": 16,
    "convnext_tiny": 4,
    "convmixer_1024_20_ks9_p14": 14,
    "swin_tiny_patch4_window7_224": 4,
    "mixer_s16_224": 16,
}
MOVING = ("patch, scramble", "block-scrambling")


def list_ciphers(patch: int) -> dict[str, tuple[str, dict]]:
    small = 7 if patch == 14 else 4
    return {
        f"hill {small}x{small}": ("hill", {"block": small}),
        "shf": ("shf", {"block": patch}),
        "np": ("np", {"block": patch}),
        "patch": ("patch", {"block": patch}),
        "patch, orthogonal": ("patch", {"block": patch, "orthogonal": True}),
        "np+shf": ("np+shf", {"block": small}),
        "patch, scramble": ("patch", {"block": patch, "scramble": True}),
        "block-scrambling": ("block-scrambling", {"block": patch}),
    }


def spread(model: nn.Module) -> nn.Module:
    """Heads and places that decide something: many of timm's networks begin with zeros there."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "pos_embed" in name or (name.startswith("head") and name.endswith("weight")):
            nn.init.normal_(parameter, std=0.5)
    return model.eval()


def predict(model: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(part) for part in images.split(BATCH)])


def time_both(models: dict[str, tuple[nn.Module, Tensor]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in models}
    for number in range(ROUNDS + 1):
        for name, (model, images) in random.sample(list(models.items()), len(models)):
            started = time.perf_counter()
            predict(model, images)
            if number:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(name: str, patch: int, count: int) -> list[dict]:
    model = spread(timm.create_model(name, num_classes=100))
    images = torch.from_numpy(generate(range(count), size=SIDE).images)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    normalised = (images / 255 - mean) / std
    expected = predict(model, normalised)
    rows = []
    for label, (cipher, params) in list_ciphers(patch).items():
        if label in MOVING and not name.startswith("vit"):
            continue
        bound = cl.create_cipher(cipher, **params).bind(cl.Key.generate(), (3, SIDE, SIDE))
        started = time.perf_counter()
        folded = cl.fold(model, bound, MEAN, STD)
        seconds = time.perf_counter() - started
        ct = bound.encrypt(images)
        ct = ct / 255 if ct.dtype == torch.uint8 else ct
        found = predict(folded, ct)
        timed = time_both({"plain": (model, normalised[:8]), "folded": (folded, ct[:8])})
        row = {"model": name, "cipher": label, "images": count, "fold_seconds": seconds}
        row["condition"] = getattr(bound, "condition", None)
        row |= compare_decisions(expected, found)
        rows.append(row | {"time_ratio": timed["folded"] / timed["plain"]})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()  # as every run does that is loaded
    rows = []
    for name in options.models or MODELS:
        rows += measure(name, MODELS[name], options.images)
        if options.out:
            write_record(options.out, "python benchmarks/fold_equality.py", {"rows": rows})


if __name__ == "__main__":
    main()
