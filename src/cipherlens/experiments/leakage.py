"""The leaderboard: what every scheme gives away to every attack that applies, at growing budgets."""

import hashlib
import json
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.base import Attack
from cipherlens.attacks.controls import run_controls
from cipherlens.attacks.harness import MAX_QUERIES, evaluate
from cipherlens.attacks.target import Target
from cipherlens.attacks.views import FEW_IMAGES
from cipherlens.audit.auditing import summarize
from cipherlens.ciphers import create_cipher
from cipherlens.data.files import canonical_json, write_atomic
from cipherlens.data.images import Preprocess
from cipherlens.data.sources import Source, open_source, pick_evenly
from cipherlens.data.workers import run_in_processes
from cipherlens.errors import UsageError
from cipherlens.experiments.cells import load_or_make_key
from cipherlens.experiments.plots import draw_leakage
from cipherlens.experiments.reporting import Reporter
from cipherlens.experiments.settings import Settings, check_options, name_cipher
from cipherlens.keys import Key

_MOST = {"coa": 10_000, "kpa": 100}
"""Larger budgets add nothing: a hundred known pictures give the key where they can."""
_SCORED = 200
_CONTROLLED = 1000
_SETTINGS = "settings.json"
_APART = {"per_image": True}
"""What attacks and their scoring are told where every image has a key of its own, if the scheme has it or not."""
_EXACT = 0.99
"""Share of exact values with the right key: real ciphers round."""


@dataclass(frozen=True)
class Trial:
    """One attack on one scheme with one key and budget; without a budget, the attack's two controls.

    ``apart``: FEW_IMAGES images, each under a key of its own and attacked alone.
    """

    out: Path
    cipher: dict[str, Any]
    attack: str
    seed: int
    budget: int | None
    apart: bool = False

    @property
    def path(self) -> Path:
        """Where its result is kept."""
        size = "controls" if self.budget is None else "apart" if self.apart else f"budget{self.budget}"
        scheme = name_cipher(self.cipher).replace(" ", "-").replace("=", "")
        return self.out / "trials" / f"{scheme}-{self.attack}-{size}-key{self.seed}.json"


def run_leakage(settings: Settings, out: Path, report: Reporter) -> dict[str, Any]:
    """Run (or continue) the leaderboard in the folder ``out``; returns what was measured."""
    check_options(settings, ("seeds", "budgets", "prior", "ciphers"))
    out, options = out.resolve(), settings.options
    out.mkdir(parents=True, exist_ok=True)
    source, most = open_source(settings.source), max(options["budgets"]) + _SCORED
    images = _read(source, "test", most), _read(source, "train", options["prior"])
    _require_same(out / _SETTINGS, images)
    keys = [load_or_make_key(out / f"key{seed}") for seed in options["seeds"]]
    trials = list(_plan(settings, out, *images))
    waiting = [trial for trial in trials if not trial.path.exists()]
    arguments = (settings.source, most, options["prior"])
    with report.bar("attacking") as progress:
        done = run_in_processes(run_trial, waiting, os.cpu_count() or 1, start_worker, arguments)
        for number, _ in enumerate(done, start=1):
            progress(number, len(waiting))
    results = [json.loads(trial.path.read_bytes()) for trial in trials]
    scored = [(trial, result) for trial, result in zip(trials, results, strict=True) if trial.budget is not None]
    rows = _summarize([pair for pair in scored if not pair[0].apart])
    draw_leakage(out / "figure.png", settings.title, rows)
    return {
        "scale": settings.scale,
        "source": Path(settings.source).name,
        "shape": list(images[0].shape[1:]),
        "prior": f"{len(images[1])} training images",
        "keys": len(keys),
        "rows": rows,
        "key_per_image": _summarize([pair for pair in scored if pair[0].apart]),
        "controls": [control for result in results for control in result.get("controls", ())],
        "published": settings.published,
    }


def _read(source: Source, split: str, count: int) -> NDArray[np.uint8]:
    """At most ``count`` images of a split, evenly spread, in random order: the first few are of all classes too."""
    chosen = np.random.default_rng(0).permutation(pick_evenly(source.splits[split], count))
    items = source.read(split, chosen.tolist())
    return np.stack([Preprocess(None).apply(item) for item in items])


def _require_same(path: Path, images: Sequence[NDArray[np.uint8]]) -> None:
    """Remember what is attacked in this folder; UsageError where something else was."""
    facts = {
        name: {"shape": list(part.shape), "sha256": hashlib.sha256(part.tobytes()).hexdigest()}
        for name, part in zip(("attacked", "public"), images, strict=True)
    }
    if not path.exists():
        write_atomic(path, canonical_json(facts))
    if json.loads(path.read_bytes()) != facts:
        raise UsageError(f"{path.parent} holds attacks on other images", hint="choose a new folder with --out")


def _plan(settings: Settings, out: Path, plain: NDArray[np.uint8], public: NDArray[np.uint8]) -> Iterator[Trial]:
    for params in settings.options["ciphers"]:
        target = _seal(params, Key.generate(), plain[:1], public[:1])
        if not target.list_attacks(len(plain)):
            raise UsageError(f"{settings.name}.toml: no attack applies to {name_cipher(params)}")
        for attack in target.list_attacks(len(plain)):
            yield Trial(out, params, attack.name, 0, None)
            if attack.threat_model == "coa" and attack.least == 1 and not params.get("per_image"):
                yield Trial(out, params, attack.name, 0, 1, apart=True)
            for budget in _choose_budgets(attack, target.params, settings.options["budgets"], len(plain)):
                for seed in settings.options["seeds"]:
                    yield Trial(out, params, attack.name, seed, budget)


def _choose_budgets(attack: Attack, params: dict[str, Any], budgets: Sequence[int], total: int) -> list[int]:
    if attack.threat_model == "cpa":
        return [MAX_QUERIES]
    most = min(_MOST[attack.threat_model], total - (attack.threat_model == "kpa"), attack.most_images(params))
    return [budget for budget in budgets if attack.least <= budget <= most]


_images: tuple[NDArray[np.uint8], NDArray[np.uint8]]


def start_worker(source: str, most: int, prior: int) -> None:
    """Read the images that all trials of a worker share."""
    global _images  # noqa: PLW0603 (a worker process holds them)
    opened = open_source(source)
    _images = _read(opened, "test", most), _read(opened, "train", prior)


def run_trial(trial: Trial) -> None:
    """Run one trial and keep its result; runs in a worker process of its own."""
    plain, public = _images
    attack = ATTACKS[trial.attack]
    name = {"scheme": name_cipher(trial.cipher)}
    result: dict[str, Any]
    if trial.budget is None:
        target = _seal(trial.cipher, Key.generate(), plain[: _CONTROLLED + 1], public)
        result = name | {"controls": [name | asdict(c) for c in run_controls(attack, target, _CONTROLLED)]}
    elif trial.apart:
        pictures = [plain[number : number + 1] for number in range(FEW_IMAGES)]
        targets = [_seal(trial.cipher, Key.generate(), picture, public) for picture in pictures]
        together = replace(
            targets[0],
            params=targets[0].params | _APART,
            plain=plain[:FEW_IMAGES],
            ct=np.concatenate([target.ct for target in targets]),
            bound=None,
        )
        found = evaluate(attack, together, 1, trial.seed, runs=FEW_IMAGES)
        result = name | summarize(found) | {"keys": FEW_IMAGES}
    else:
        size = trial.budget
        count = {"coa": max(size, FEW_IMAGES), "kpa": size + _SCORED, "cpa": _SCORED}[attack.threat_model]
        target = _seal(trial.cipher, load_or_make_key(trial.out / f"key{trial.seed}"), plain[:count], public)
        result = name | summarize(evaluate(attack, target, trial.budget, trial.seed))
    trial.path.parent.mkdir(exist_ok=True)
    write_atomic(trial.path, canonical_json(result))


def _seal(params: dict[str, Any], key: Key, plain: NDArray[np.uint8], public: NDArray[np.uint8]) -> Target:
    cipher = create_cipher(**params)
    bound = cipher.bind(key, (int(plain.shape[1]), int(plain.shape[2]), int(plain.shape[3])))
    ct = bound.encrypt(plain, [f"test/{number}" for number in range(len(plain))])
    prior = f"{len(public)} other images of the same kind"
    return Target(cipher.name, cipher.params, plain, ct, public, prior, bound)


def _summarize(scored: Sequence[tuple[Trial, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Mean and range over the keys, by scheme, attack and budget."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    ways: dict[tuple[str, str], str] = {}
    for trial, result in scored:
        scheme, attack = result["scheme"], result["attack"]
        groups.setdefault((scheme, attack, result["budget"]), []).append(result)
        cipher = create_cipher(**trial.cipher)
        params = cipher.params | (_APART if trial.apart else {})
        ways[scheme, attack] = ATTACKS[attack].choose_alignment(cipher.name, params)
    return [
        {
            "scheme": scheme,
            "attack": attack,
            "threat_model": group[0]["threat_model"],
            "budget": budget,
            "budget_unit": group[0]["budget_unit"],
            "n": group[0]["n"],
            "alignment": ways[scheme, attack],
            **{name: _spread([result[name] for result in group]) for name in ("ssim", "psnr", "exact_pixels")},
            "guess_ssim": statistics.mean(result["guess_ssim"] for result in group),
            "beats_guessing": all(result["beats_guessing"] for result in group),
            "keys_recovered": sum(map(_has_key, group)),
            "keys": sum(result.get("keys", 1) for result in group),
            "seconds": statistics.mean(result["seconds"] for result in group),
            "flags": sorted({flag for result in group for flag in result["flags"]}),
        }
        for (scheme, attack, budget), group in groups.items()
    ]


def _has_key(result: dict[str, Any]) -> bool:
    """Whether the attack says that it has the key, and the pictures say so too."""
    return bool(result["details"].get("key_recovered")) and bool(result["exact_pixels"] > _EXACT)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": statistics.mean(values), "min": min(values), "max": max(values)}
