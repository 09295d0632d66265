"""The audit: every attack that applies, at several budgets, with controls, into one report."""

import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cipherlens.attacks.harness import Evaluation, Target, default_budgets, evaluate, run_controls
from cipherlens.audit.records import describe_environment
from cipherlens.audit.report import PictureRow
from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed import SealedDataset
from cipherlens.errors import CipherlensError, DataError, UsageError

METRICS = ("ssim", "psnr", "exact_pixels")
_PICTURES = 6


def audit(
    dataset: SealedDataset,
    target: Target,
    command: str,
    runs: Sequence[Path] = (),
    limits: dict[str, float] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Any], list[PictureRow]]:
    """Run all attacks that apply to the data set's cipher; return the report's content and its pictures."""
    attacks = target.list_attacks()
    total, params = len(target.plain), target.params
    jobs = [(attack, budget) for attack in attacks for budget in default_budgets(attack, total, params)]
    evaluations = []
    for done, (attack, budget) in enumerate(jobs):
        evaluations.append(evaluate(attack, target, budget, seed))
        if progress:
            progress(done + 1, len(jobs) + len(attacks))
    controls = []
    for done, attack in enumerate(attacks):
        largest = max(e.budget for e in evaluations if e.attack == attack.name)
        controls += run_controls(attack, target, largest, seed)
        if progress:
            progress(len(jobs) + done + 1, len(jobs) + len(attacks))
    report = {
        "format": "cipherlens-audit",
        "version": 1,
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "sealed": _describe(dataset),
        "environment": describe_environment(),
        "attacks": [summarize(evaluation) for evaluation in evaluations],
        "controls": [asdict(control) for control in controls],
        "accuracy": [read_accuracy(run) for run in runs],
        "thresholds": check_thresholds(evaluations, limits or {}),
    }
    return report, _pick_pictures(target, evaluations)


def summarize(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation without its pictures, JSON-able."""
    hidden = ("reconstruction", "scored")
    return {name: value for name, value in vars(evaluation).items() if name not in hidden}


def _describe(dataset: SealedDataset) -> dict[str, Any]:
    plan = dataset.plan
    return {
        "cipher": plan.cipher,
        "params": plan.params,
        "key_fingerprint": plan.key_fingerprint,
        "plain_shape": list(plan.plain_shape),
        "ct_dtype": plan.ct_dtype,
        "splits": dataset.splits,
        "classes": list(plan.classes),
        "threat_note": create_cipher(plan.cipher, **plan.params).threat_note,
    }


def read_accuracy(run: Path) -> dict[str, Any]:
    """What a run folder reached on its test images after its last epoch."""
    try:
        record = json.loads((run / "config.json").read_bytes())
        history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        config, data, last = record["config"], record["data"], history[-1]
        cipher, adapted = record["provenance"]["cipher"], config["adapt_block"] is not None
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{run} is not a finished run: {error}", hint="give run folders made by train") from None
    name = "plain images" if cipher == "identity" else f"{cipher} images"
    return {
        "name": f"{name}, adaptation network" if adapted else name,
        "cipher": cipher,
        "model": config["model"],
        "adaptation": adapted,
        "accuracy": last["test_accuracy"],
        "n": data["test_images"],
        "chance": 1 / len(data["classes"]),
        "epochs": len(history),
    }


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """``["ssim=0.3"]`` -> ``{"ssim": 0.3}``; raises UsageError for anything else."""
    limits = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            limits[name] = float(value)
        except ValueError:
            raise UsageError(f"--fail-above takes METRIC=NUMBER, not {text!r}", hint="e.g. ssim=0.3") from None
        if name not in METRICS:
            raise UsageError(f"unknown metric {name!r}", hint=f"choose one of: {', '.join(METRICS)}")
    return limits


def check_thresholds(evaluations: Sequence[Evaluation], limits: dict[str, float]) -> list[dict[str, Any]]:
    """For each limit the worst measured value and whether it exceeds the limit."""
    rows = []
    if limits and not evaluations:
        raise CipherlensError(
            "no attack of this version applies to this cipher: the limits cannot be checked",
            hint="leave --fail-above out; an audit without attacks says nothing",
        )
    for metric, limit in limits.items():
        worst = max(evaluations, key=lambda e: float(getattr(e, metric)))
        measured = float(getattr(worst, metric))
        rows.append(
            {
                "metric": metric,
                "limit": limit,
                "measured": measured,
                "attack": worst.attack,
                "exceeded": measured > limit,
            }
        )
    return rows


def _pick_pictures(target: Target, evaluations: Sequence[Evaluation]) -> list[PictureRow]:
    """The same few images for all attacks: the last of those that every attack's largest budget reconstructs."""
    best: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        if evaluation.attack not in best or evaluation.budget >= best[evaluation.attack].budget:
            best[evaluation.attack] = evaluation
    common = set(range(len(target.plain)))
    for evaluation in best.values():
        common &= set(evaluation.scored.tolist())
    rows = []
    for image in sorted(common)[-_PICTURES:]:
        columns = {
            f"{e.attack} ({e.budget:,} {e.budget_unit})": e.reconstruction[e.scored.tolist().index(image)].clip(
                0, 1
            )
            for e in best.values()
        }
        rows.append(PictureRow(target.plain[image], target.ct[image], columns))
    return rows
