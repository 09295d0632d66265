"""Folded networks against plain ones: python benchmarks/measure/fold_equality.py --out results/fold-equality.json

Networks with random weights, generated images at 224x224, every cipher that folds. Logits, decisions (after the
mean logits are taken away: a random network calls all images the same), seconds to fold, and the time of a batch of
8: the median, over rounds, of its ratio to the plain network's in the same round. Hill keys by their condition
number, on which the rounding depends: the median and the worst of a hundred.
"""

import argparse
import json
import random
import statistics
import time
from pathlib import Path

import timm
import torch
from locked_equality import compare_decisions, set_statistics
from torch import Tensor, nn

import cipherlens as cl
from cipherlens.ciphers import BoundCipher
from cipherlens.data.synthetic.dataset import generate
from cipherlens.memory import disable_malloc_trim
from cipherlens.records import write_record

SIDE, BATCH, SECONDS, LEAST_ROUNDS = 224, 16, 15.0, 11
HILL_KEYS = 100
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
        f"hill {small}x{small}, median key": ("hill", {"block": small}),
        f"hill {small}x{small}, worst key": ("hill", {"block": small}),
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


def measure_ratio(plain: tuple[nn.Module, Tensor], folded: tuple[nn.Module, Tensor]) -> tuple[float, int]:
    """Median ratio of two times taken one after the other, in random order, and the number of rounds."""
    ratios: list[float] = []
    begun = time.perf_counter()
    while len(ratios) < LEAST_ROUNDS or time.perf_counter() - begun < SECONDS:
        seconds = {}
        for number, (model, images) in random.sample(list(enumerate((plain, folded))), 2):
            started = time.perf_counter()
            predict(model, images)
            seconds[number] = time.perf_counter() - started
        ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios[1:]), len(ratios) - 1


def bind(label: str, cipher: str, params: dict) -> BoundCipher:
    count = HILL_KEYS if cipher == "hill" else 1
    drawn = [cl.create_cipher(cipher, **params).bind(cl.Key.generate(), (3, SIDE, SIDE)) for _ in range(count)]
    if count == 1:
        return drawn[0]
    drawn.sort(key=lambda bound: bound.condition)
    return drawn[-1 if "worst" in label else HILL_KEYS // 2]


def measure(name: str, patch: int, count: int) -> list[dict]:
    model = spread(timm.create_model(name, num_classes=100))
    images = torch.from_numpy(generate(range(count), size=SIDE).images)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    normalised = (images / 255 - mean) / std
    set_statistics(model, normalised[:BATCH])
    expected = predict(model, normalised)
    rows = []
    for label, (cipher, params) in list_ciphers(patch).items():
        if label in MOVING and not name.startswith("vit"):
            continue
        bound = bind(label, cipher, params)
        started = time.perf_counter()
        folded = cl.fold(model, bound, MEAN, STD)
        seconds = time.perf_counter() - started
        ct = bound.encrypt(images)
        ct = ct / 255 if ct.dtype == torch.uint8 else ct
        found = predict(folded, ct)
        row = {"model": name, "cipher": label, "images": count, "fold_seconds": seconds}
        row["condition"] = getattr(bound, "condition", None)
        row |= compare_decisions(expected, found)
        row["time_ratio"], row["rounds"] = measure_ratio((model, normalised[:8]), (folded, ct[:8]))
        rows.append(row)
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    disable_malloc_trim()  # as every run does that is loaded
    names = options.models or list(MODELS)
    known = json.loads(options.out.read_text())["results"]["rows"] if options.out and options.out.exists() else []
    rows = [row for row in known if row["model"] not in names]
    for name in names:
        rows += measure(name, MODELS[name], options.images)
        if options.out:
            write_record(options.out, "python benchmarks/measure/fold_equality.py", {"rows": rows})


if __name__ == "__main__":
    main()
