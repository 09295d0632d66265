"""Compare schemes: accuracy with and without adaptation or key, cost of encryption, and leakage."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cipherlens.ciphers import BoundCipher, create_cipher
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.spec import PLAIN
from cipherlens.errors import UsageError
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.load import load_target
from cipherlens.evaluation.target import Target
from cipherlens.experiments.cells import TrainingJob, count_workers, load_or_make_key, seal_images, train_cells
from cipherlens.experiments.reporting import Reporter
from cipherlens.experiments.settings import Settings, check_options, name_cipher
from cipherlens.keys import Key
from cipherlens.models.adaptation.kinds import LEARNED

ADAPTED = ("er", *LEARNED)
DERIVED = ("locked", "folded")
WAYS = ("none", *ADAPTED, *DERIVED)
"""Ways to use a network: alone, with an adaptation network, or with the key (no training on ciphertexts)."""
_TIMED, _REPEATS = 256, 5
"""Images and repetitions of which the encryption time is taken. Chosen by hand."""
_KNOWN_PAIRS = 10
"""At most this many known pictures are given to an attack. Chosen by hand."""


@dataclass(frozen=True)
class Scheme:
    """One cipher with one network, and the ways to use it."""

    cipher: dict[str, Any]
    model: str
    ways: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name of the cipher with its parameters."""
        return name_cipher(self.cipher)

    @property
    def folder(self) -> str:
        """Folder of its sealed images."""
        return "sealed-" + self.label.replace(" ", "-").replace("=", "")

    def name_run(self, way: str, seed: int) -> str:
        """Folder of a run."""
        return f"{self.folder.removeprefix('sealed-')}-{self.model}-{way}-seed{seed}"


def run_comparison(settings: Settings, out: Path, threads: int, report: Reporter) -> dict[str, Any]:
    """Run (or continue) a comparison in the folder ``out``; returns what was measured."""
    check_options(settings, ("limit", "seeds", "model", "base", "schemes", "attacked", "models"))
    out, options = out.resolve(), settings.options
    schemes = _read_schemes(settings)
    key = load_or_make_key(out)
    for scheme in schemes:
        sealing = SealOptions(limit=options.get("limit"))
        seal_images(settings.source, out / scheme.folder, scheme.cipher, key, sealing, report)
    cells = [
        _make_cell(settings, out, scheme, way, seed)
        for scheme in schemes
        for way in scheme.ways
        if way not in DERIVED
        for seed in options["seeds"]
    ]
    train_cells(cells, threads, report)
    rows = [row for scheme in schemes for row in _measure(settings, out, scheme, key, report)]
    return {
        "scale": settings.scale,
        "source": Path(settings.source).name,
        "images": SealedDataset.open(out / schemes[0].folder).splits,
        "base": options["base"],
        "seeds": options["seeds"],
        "trainings_at_once": count_workers(threads),
        "rows": rows,
        "published": settings.published,
    }


def _read_schemes(settings: Settings) -> list[Scheme]:
    found = [
        Scheme(scheme["cipher"], scheme.get("model", settings.options["model"]), tuple(scheme["ways"]))
        for scheme in settings.options["schemes"]
    ]
    plain = {scheme.model for scheme in found if scheme.cipher["name"] == PLAIN and "none" in scheme.ways}
    for scheme in found:
        unknown = [way for way in scheme.ways if way not in WAYS]
        if unknown:
            raise UsageError(f"{settings.name}.toml: ways {unknown}", hint=f"choose from {', '.join(WAYS)}")
        if set(scheme.ways) & set(DERIVED) and scheme.model not in plain:
            raise UsageError(f"{scheme.label} needs {scheme.model} trained on plain images", hint="add it")
        create_cipher(**scheme.cipher)
    return found


def _make_cell(settings: Settings, out: Path, scheme: Scheme, way: str, seed: int) -> TrainingJob:
    config = {**settings.options["base"], **settings.options.get("models", {}).get(scheme.model, {})}
    config["model"] = scheme.model
    if way in ADAPTED:
        config |= {"adapt_block": scheme.cipher.get("block", 4), "adaptation": way}
    cell = TrainingJob(seed, out / scheme.folder, out / "runs" / scheme.name_run(way, seed), config)
    cell.read_config()
    return cell


def _measure(settings: Settings, out: Path, scheme: Scheme, key: Key, report: Reporter) -> Iterator[dict[str, Any]]:
    from cipherlens.training.run.load import evaluate as test
    from cipherlens.training.run.load import load_run

    dataset = SealedDataset.open(out / scheme.folder)
    bound = dataset.spec.bind(key)
    count = min(int(settings.options.get("attacked", 500)), dataset.splits["test"])
    target = load_target(dataset, settings.source, "test", count)
    facts = {
        "milliseconds": _time_encryption(bound, target),
        "bytes_per_image": sum(s.bytes for s in dataset.manifest.shards) / sum(dataset.splits.values()),
        "key_bits": create_cipher(**scheme.cipher).key_bits(dataset.spec.padded_shape),
        "leakage": [] if scheme.cipher["name"] == PLAIN else _attack(target),
    }
    for way in scheme.ways:
        scores, parameters = [], 0
        for seed in settings.options["seeds"]:
            run = out / "runs" / scheme.name_run(way, seed)
            if way in DERIVED and not run.exists():
                plain = Scheme({"name": PLAIN}, scheme.model, ()).name_run("none", seed)
                _derive(way, out / "runs" / plain, run, dataset, key)
            loaded = load_run(run, "last", bound if way == "locked" else None)
            scores.append(float(test(loaded, dataset.split("test"))["accuracy"]))
            parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
        report.say(f"{scheme.label}, {scheme.model}, {way}: {np.mean(scores):.2%}")
        row = {"scheme": scheme.label, "model": scheme.model, "way": way, "parameters": parameters}
        yield row | {"mean": float(np.mean(scores)), "min": min(scores), "max": max(scores), **facts}


def _derive(way: str, plain: Path, out: Path, dataset: SealedDataset, key: Key) -> None:
    from cipherlens.training.keyed_runs.fold import fold_run
    from cipherlens.training.keyed_runs.lock import lock_run

    if way == "locked":
        lock_run(plain, out, key, "shuffled")
    else:
        fold_run(plain, out, dataset, key)


def _time_encryption(bound: BoundCipher, target: Target) -> float:
    """Median milliseconds per image."""
    plain, seconds = target.plain[:_TIMED], []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        bound.encrypt(plain, range(len(plain)))
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds) / len(plain)


def _attack(target: Target) -> list[dict[str, Any]]:
    """Results of the attacks on the cipher, from all ciphertexts, or with a few known pictures."""
    found = []
    total = len(target.plain)
    for attack in target.list_attacks():
        result = evaluate(
            attack, target, total if attack.threat_model.sees_budget else min(_KNOWN_PAIRS, total // 2)
        )
        found.append(
            {
                "attack": attack.name,
                "threat_model": attack.threat_model.name,
                "budget": result.budget,
                "ssim": result.ssim,
                "exact_pixels": result.exact_values,
                "guess_ssim": result.guess_ssim,
                "beats_guessing": result.beats_guessing,
                "seconds": result.seconds,
            }
        )
    return found
