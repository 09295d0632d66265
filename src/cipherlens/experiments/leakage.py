"""The leaderboard: leakage of every scheme to every attack that applies, at growing budgets."""

import hashlib
import json
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks import get_attack
from cipherlens.attacks.base import Attack
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.structure import Shape
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY, KNOWN_PLAINTEXT, MAX_QUERIES
from cipherlens.data.sealed.workers import run_in_processes
from cipherlens.data.sources.registry import open_source
from cipherlens.errors import UsageError
from cipherlens.evaluation.metrics import PACKAGES
from cipherlens.evaluation.target import Target
from cipherlens.experiments.cells import load_or_make_key
from cipherlens.experiments.plots import draw_leakage
from cipherlens.experiments.reporting import Reporter
from cipherlens.experiments.settings import Settings, check_options
from cipherlens.experiments.trials import (
    SCORED,
    Trial,
    read_images,
    run_trial,
    seal_images,
    start_worker,
)
from cipherlens.files import canonical_json, write_atomic
from cipherlens.keys import Key

_MOST = {CIPHERTEXT_ONLY: 10_000, KNOWN_PLAINTEXT: 100}
"""Largest budget per threat model; a hundred known pictures give the key where any number does."""
_SETTINGS = "settings.json"
_EXACT = 0.99
"""Minimum share of exact values with the right key; float ciphers round some. Chosen by hand."""


def run_leakage(settings: Settings, out: Path, report: Reporter) -> dict[str, Any]:
    """Run (or continue) the leaderboard in the folder ``out``; returns what was measured."""
    check_options(settings, ("seeds", "budgets", "prior", "ciphers", "attacks"))
    out, options = out.resolve(), settings.options
    out.mkdir(parents=True, exist_ok=True)
    source, most = open_source(settings.source), max(options["budgets"]) + SCORED
    images = read_images(source, "test", most), read_images(source, "train", options["prior"])
    _require_same(out / _SETTINGS, images, settings.entry)
    keys = [load_or_make_key(out / f"key{seed}") for seed in options["seeds"]]
    trials = list(_plan(settings, out, *images))
    if not trials:
        raise UsageError(f"{settings.name}: {', '.join(options['attacks'])} applies to no scheme of it")
    waiting = [trial for trial in trials if not trial.path.exists()]
    arguments = (settings.source, most, options["prior"], settings.places)
    with report.bar("attacking") as progress:
        done = run_in_processes(run_trial, waiting, os.cpu_count() or 1, start_worker, arguments, preload=PACKAGES)
        for number, _ in enumerate(done, start=1):
            progress(number, len(waiting))
    results = [json.loads(trial.path.read_bytes()) for trial in trials]
    scored = [(trial, result) for trial, result in zip(trials, results, strict=True) if trial.budget is not None]
    shape = images[0].shape[1:]
    rows = _summarize([pair for pair in scored if not pair[0].apart], shape)
    draw_leakage(out / "figure.png", settings.title, rows)
    return {
        "scale": settings.scale,
        "source": Path(settings.source).name,
        "shape": list(shape),
        "prior": f"{len(images[1])} training images",
        "keys": len(keys),
        "rows": rows,
        "key_per_image": _summarize([pair for pair in scored if pair[0].apart], shape),
        "controls": [control for result in results for control in result.get("controls", ())],
        "published": settings.published,
        **({} if settings.entry is None else {"entry": settings.entry}),
    }


def _require_same(path: Path, images: Sequence[NDArray[np.uint8]], entry: dict[str, Any] | None) -> None:
    """Record what is attacked in this folder. Raises UsageError where it holds attacks on something else."""
    facts: dict[str, Any] = {
        name: {"shape": list(part.shape), "sha256": hashlib.sha256(part.tobytes()).hexdigest()}
        for name, part in zip(("attacked", "public"), images, strict=True)
    }
    if entry is not None:
        facts["entry"] = entry
    if not path.exists():
        write_atomic(path, canonical_json(facts))
    known = json.loads(path.read_bytes())
    if known != facts:
        other = "images" if {**known, "entry": None} != {**facts, "entry": None} else "code"
        raise UsageError(
            f"{path.parent} holds attacks on other {other}", hint="choose a new folder", parameters=("out",)
        )


def _list_attacks(settings: Settings, target: Target, images: int) -> list[Attack]:
    """The attacks that apply: all but those that take minutes, or the one of an entry."""
    only = settings.options.get("attacks")
    attacks = [one for one in target.list_attacks(images, slow=bool(only)) if not only or one.name in only]
    cipher = target.cipher
    if not attacks and cipher is not None and (not only or len(settings.options["ciphers"]) == 1):
        raise UsageError(
            f"{settings.name}: no attack applies to {cipher.name}" + (f" among {', '.join(only)}" if only else ""),
            hint="declare in structure() what the key may do, or name an attack of yours",
            parameters=("attack",),
        )
    return attacks


def _plan(settings: Settings, out: Path, plain: NDArray[np.uint8], public: NDArray[np.uint8]) -> Iterator[Trial]:
    for params in settings.options["ciphers"]:
        target = seal_images(params, Key.generate(), plain[:1], public[:1])
        for attack in _list_attacks(settings, target, len(plain)):
            yield Trial(out, params, attack.name, 0, None)
            alone = attack.threat_model is CIPHERTEXT_ONLY and attack.requirements.min_images == 1
            if alone and not target.key_per_image:
                yield Trial(out, params, attack.name, 0, 1, apart=True)
            for budget in _choose_budgets(attack, target.key_per_image, settings.options["budgets"], len(plain)):
                for seed in settings.options["seeds"]:
                    yield Trial(out, params, attack.name, seed, budget)


def _choose_budgets(attack: Attack, key_per_image: bool, budgets: Sequence[int], total: int) -> list[int]:
    model = attack.threat_model
    if model.chooses:
        return [MAX_QUERIES]
    most = min(_MOST[model], total - model.knows_pairs, attack.most_images(key_per_image))
    return [budget for budget in budgets if attack.requirements.min_images <= budget <= most]


def _summarize(scored: Sequence[tuple[Trial, dict[str, Any]]], shape: Shape) -> list[dict[str, Any]]:
    """Mean and range over the keys, by scheme, attack and budget, for images of ``shape`` (C, H, W)."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    ways: dict[tuple[str, str], str] = {}
    for trial, result in scored:
        scheme, attack = result["scheme"], result["attack"]
        groups.setdefault((scheme, attack, result["budget"]), []).append(result)
        cipher = create_cipher(**trial.cipher)
        apart = trial.apart or cipher.per_image
        ways[scheme, attack] = get_attack(attack).choose_alignment(cipher.structure(shape), apart)
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
    """Whether the attack reports that it has the key, and the pictures confirm it."""
    return bool(result["details"].get("key_recovered")) and bool(result["exact_pixels"] > _EXACT)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": statistics.mean(values), "min": min(values), "max": max(values)}
