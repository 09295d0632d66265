"""Run folders: refused with a reason, or a run that answers."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.security.fuzz.mutate_bytes import mutate_bytes
from tests.security.fuzz.mutate_json import mutate_json, to_text
from tests.security.fuzz.mutate_tensors import mutate_tensors
from tests.security.fuzz.outcome import Misbehaved
from tests.security.fuzz.target import RUNS, Case, Target, warm_up
from tests.security.fuzz.trees import FORMATS, Tree, read_tree, replace_node

FILES = ("config.json", "metrics.jsonl", "best.safetensors", "last.safetensors")
MODELS = (
    *("preresnet20", "vgg16_cifar", "unet", "unet-small", "resnet18", "vit_tiny_patch16_224", "test_vit"),
    *("test_convnext",),
    *("hf-hub:timm/resnet18.a1_in1k", "hf_hub:nobody/nothing", "local-dir:/etc", "local-dir:../outside", "../x"),
    *("a/b", ""),
    *("eva_giant_patch14_560", "TEST_EFFICIENTNET", "test_efficientnet.r160_in1k", "test_efficientnet\x1b[2J"),
)
_MOST_VALUES = 3_000_000
SEVERAL = "run-several"


def mutate_run(rng: Random, tree: Tree, other: Tree) -> tuple[Tree, str]:
    """Change one file of a run folder."""
    path = rng.choices(FILES, (12, 4, 2, 4))[0]
    whole, kind = tree[path], rng.random()
    assert isinstance(whole, bytes)
    if kind < 0.015:
        return replace_node(rng, tree, path)
    stranger = other[path]
    assert isinstance(stranger, bytes)
    if kind < 0.03:
        return {**tree, path: stranger}, f"{path} of another run"
    if kind < 0.2:
        content, note = mutate_bytes(rng, whole, stranger)
    elif path.endswith(".safetensors"):
        content, note = mutate_tensors(rng, whole)
    elif path == "metrics.jsonl":
        content, note = _mutate_lines(rng, whole)
    else:
        content, note = _mutate_config(rng, whole)
    return {**tree, path: content}, f"{path}: {note}"


def _mutate_config(rng: Random, whole: bytes) -> tuple[bytes, str]:
    content = json.loads(whole)
    if rng.random() < 0.1:
        content["config"]["model"] = rng.choice(MODELS)
        return to_text(rng, content).encode(), f"model {content['config']['model']!r}"
    value, note = mutate_json(rng, content)
    return to_text(rng, value).encode(), note


def _mutate_lines(rng: Random, whole: bytes) -> tuple[bytes, str]:
    value, note = mutate_json(rng, json.loads(whole))
    line = to_text(rng, value).encode().replace(b"\n", b" ")
    return b"\n".join([line] * rng.choice((1, 1, 2, 500))) + rng.choice((b"\n", b"", b"\n\n", b"\n{\n")), note


class RunTarget(Target):
    """``read_record``, ``inspect``, ``read_accuracy``, and the model with its best or last weights."""

    name, share, codes = "run", 5, frozenset({2, 3, 4})
    seeds_kept = len(RUNS) + 1

    def __init__(self) -> None:
        warm_up()
        trees = {name: read_tree(FORMATS / name) for name in RUNS}
        self.trees = {name: {path: trees[name][path] for path in FILES} for name in RUNS}
        self.trees[SEVERAL] = _give_owners(self.trees["run-hill"])
        self.names = tuple(self.trees)
        for name in RUNS:  # so that nothing is imported later
            _open(FORMATS / name, "last", self.key)

    def make(self, rng: Random, number: int) -> Case:
        if number < self.seeds_kept:
            name = self.names[number]
            return Case(self.trees[name], name, {"weights": "best"}, untouched=True)
        name = rng.choice(self.names)
        facts = {"weights": rng.choice(("best", "last"))}
        tree, note = mutate_run(rng, self.trees[name], self.trees[rng.choice(self.names)])
        return Case(tree, f"{name} {note} {facts}", facts)

    def use(self, case: Case, root: Path) -> None:
        from cipherlens.auditing.accuracy import read_accuracy
        from cipherlens.cli.commands.owner.inspect import describe
        from cipherlens.training.run.record import read_record

        refused = [
            *_refusals(lambda: read_record(root)),
            *_refusals(lambda: json.dumps(describe(root))),
            *_refusals(lambda: _check_accuracy(read_accuracy(root))),
            *_refusals(lambda: _ask(root, case.facts["weights"], self.key)),
        ]
        if refused:
            raise refused[0]


def _give_owners(tree: Tree) -> Tree:
    """A run on images under two keys, made of one with an adaptation network."""
    from safetensors.numpy import load, save

    content = json.loads(tree["config.json"])  # type: ignore[arg-type]
    network = {"adapt_block": content["config"]["adapt_block"], "adaptation": "er"}
    owner = {**network, **{name: content[name] for name in ("provenance", "normalization")}}
    owner["dtype"] = content["data"]["dtype"]
    other = {**owner, "provenance": {**owner["provenance"], "key_fingerprint": "0" * 32}}
    content |= {"picture": content["normalization"], "owners": [owner, other]}
    made: Tree = {**tree, "config.json": json.dumps(content).encode()}
    for path in ("best.safetensors", "last.safetensors"):
        tensors = load(tree[path])  # type: ignore[arg-type]
        shared = {name: value for name, value in tensors.items() if not name.startswith("adapt.")}
        own = {name.removeprefix("adapt."): value for name, value in tensors.items() if name.startswith("adapt.")}
        both = {f"adapt.{number}.{name}": value for number in (0, 1) for name, value in own.items()}
        made[path] = save({**shared, **both})
    return made


def _refusals(read: Callable[[], Any]) -> list[Exception]:
    """The documented error of a reader, if it had one: the other readers are still to be tried."""
    from cipherlens.errors import CipherlensError

    try:
        read()
    except CipherlensError as error:
        return [error]
    return []


def _check_accuracy(found: dict[str, Any]) -> None:
    """What a report is made of has the types that a report can show."""
    kinds = {"name": str, "cipher": str, "model": str, "n": int, "accuracy": int | float | None}
    wrong = [name for name, kind in kinds.items() if not isinstance(found[name], kind)]
    if wrong:
        raise Misbehaved(f"read_accuracy took something else for {', '.join(wrong)}")


def _open(root: Path, weights: Any, key: Any) -> Any:
    """Load a run, with the client's key where it is locked."""
    from cipherlens.data.sealed.spec import CipherSpec
    from cipherlens.training.run.load import load_run
    from cipherlens.training.run.record import read_record

    record = read_record(root)
    bound = record.config.lock and CipherSpec.from_json(record.provenance).bind(key)
    owner = record.owners[-1].provenance.get("key_fingerprint") if record.owners else None
    return load_run(root, weights, bound, owner=owner)


def _ask(root: Path, weights: Any, key: Any) -> None:
    """Ask a run about one black image."""
    from cipherlens.training.run.load import predict

    run = _open(root, weights, key)
    if int(np.prod(run.shape, dtype=object)) <= _MOST_VALUES:
        answer = predict(run, np.zeros((1, *run.shape), np.uint8 if run.dtype == "uint8" else np.float32))
        if answer.shape[:2] != (1, len(run.classes)):
            raise Misbehaved("answers of another shape than the classes")
