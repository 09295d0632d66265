"""Every model of the list, plain against locked: logits, decisions, gradients of one step.

    python benchmarks/measure/locked_equality.py --out results/locked-equality.json [MODEL ...]

Weights are random, statistics of batch normalisation those of a batch, images generated. A random network calls
most images the same, so the mean of the logits is taken away before deciding. A decision is a tie where its two
best logits are closer than twice the largest difference found. Gradients are compared in training mode on four
images.
"""

import argparse
import copy
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import segmentation

import cipherlens as cl
from cipherlens.data.synthetic.dataset import generate
from cipherlens.records import write_record

SMALL = ("vgg16_cifar", "preresnet20", "preresnet110")
LARGE = (
    *("resnet18", "resnet34", "resnet50", "resnext50_32x4d", "densenet121", "mobilenetv3_small_100"),
    *("efficientnet_b0", "tf_efficientnet_lite0", "convnext_tiny", "regnety_008", "regnetx_008"),
    *("unet", "fcn_resnet50", "deeplabv3_resnet50"),
)
CLASSES = 10
BATCH = 16


def create(name: str) -> nn.Module:
    if name.startswith(("fcn", "deeplab")):
        return getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=CLASSES)
    return cl.create_model(name, CLASSES)


def set_statistics(model: nn.Module, images: Tensor) -> None:
    """Batch normalisation as after training: a network that has seen no image gives all the same logits."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    model.eval()


def call(model: nn.Module, images: Tensor) -> Tensor:
    result = model(images)
    return result["out"] if isinstance(result, dict) else result


def put_back(logits: Tensor, bound) -> Tensor:
    if logits.ndim == 2:
        return logits
    return logits.flatten(2)[:, :, torch.from_numpy(bound.inverse)].view_as(logits)


def relative(expected: Tensor, found: Tensor) -> float:
    return float((expected - found).abs().max() / expected.abs().max())


def compare_gradients(plain: nn.Module, bound, images: Tensor) -> float:
    """Largest difference of a parameter's gradient, relative to the largest gradient of that parameter.

    In float64: what is left is not rounding but a mistake.
    """
    plain = copy.deepcopy(plain).double().train()
    locked = cl.lock(plain, bound)
    for module in (*plain.modules(), *locked.modules()):
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0  # its draws differ
    images = images.double()
    torch.manual_seed(0)
    targets = torch.randint(0, CLASSES, call(plain, images).argmax(1).shape)
    F.cross_entropy(call(plain, images), targets).backward()
    F.cross_entropy(put_back(call(locked, bound.encrypt(images)), bound), targets).backward()
    other = dict(locked.named_parameters())
    pairs = ((p.grad, other[name].grad) for name, p in plain.named_parameters())
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-9)) for a, b in pairs if a is not None)


def compare_decisions(expected: Tensor, found: Tensor) -> dict:
    """Logits (N, classes, ...), plain and locked."""
    centre = expected.mean((0, *range(2, expected.ndim)), keepdim=True)
    decisions = (expected - centre).argmax(1)
    differ = decisions != (found - centre).argmax(1)
    best = (expected - centre).topk(2, 1).values
    close = best[:, 0] - best[:, 1] <= 2 * (expected - found).abs().max()
    return {
        "relative_error": relative(expected, found),
        "decisions": decisions.numel(),
        "classes_seen": len(decisions.unique()),
        "different": int(differ.sum()),
        "different_not_tied": int((differ & ~close).sum()),
    }


def measure(name: str, count: int) -> dict:
    side = 32 if name in SMALL else 224
    torch.manual_seed(0)
    plain = create(name)
    images = torch.from_numpy(generate(range(count), size=side).images) / 127.5 - 1
    set_statistics(plain, images[:BATCH])
    bound = cl.create_cipher("pixel-permutation").bind(cl.Key.generate(), (3, side, side))
    started = time.perf_counter()
    locked = cl.lock(plain, bound)
    row = {"model": name, "side": side, "images": count, "lock_seconds": time.perf_counter() - started}
    row["names_equal"] = list(plain.state_dict()) == list(locked.state_dict())
    with torch.inference_mode():
        pairs = [(call(plain, x), put_back(call(locked, bound.encrypt(x)), bound)) for x in images.split(BATCH)]
        row |= compare_decisions(*(torch.cat(parts) for parts in zip(*pairs, strict=True)))
    return row | {"gradient_error": compare_gradients(plain, bound, images[:4])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for name in options.models or (*SMALL, *LARGE):
        rows.append(measure(name, options.images))
        print(rows[-1], flush=True)
        if options.out:
            write_record(options.out, "python benchmarks/measure/locked_equality.py", {"rows": rows})


if __name__ == "__main__":
    main()
