"""Thresholds of an audit: how much may leak."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cipherlens.errors import CipherlensError, UsageError, unknown_name
from cipherlens.evaluation.harness import Evaluation

METRICS = {"ssim": (-1.0, 1.0), "psnr": (-100.0, 100.0), "exact_pixels": (0.0, 1.0)}
"""Metrics that can be limited, each with the smallest and largest limit. Definition of the metrics' ranges."""


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """``["ssim=0.3"]`` -> ``{"ssim": 0.3}``; raises UsageError for anything else."""
    limits = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            limits[name] = float(value)
        except ValueError:
            raise UsageError(
                f"a limit is METRIC=NUMBER, not {text!r}", hint="e.g. ssim=0.3", parameters=("fail_above",)
            ) from None
    check_limits(limits)
    return limits


def check_limits(limits: Mapping[str, float]) -> None:
    """Raise UsageError for a metric that cannot be limited, or a limit that it cannot reach."""
    for name, limit in limits.items():
        if name not in METRICS:
            raise unknown_name("metric", name, METRICS)
        least, most = METRICS[name]
        if not least <= limit <= most:  # false for nan too
            raise UsageError(
                f"a limit of {name} is between {least:g} and {most:g}, not {limit:g}", hint="e.g. ssim=0.3"
            )


def check_thresholds(
    evaluations: Sequence[Evaluation], limits: Mapping[str, float], late: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """For each limit the worst measured value, whether it exceeds the limit, and whether no job is missing.

    ``late`` lists what exceeded the time. If nothing was evaluated in time, the measured value is None. Raises
    CipherlensError where no attack applies.
    """
    rows = []
    if limits and not evaluations and not late:
        raise CipherlensError(
            "no attack of this version applies to this cipher: the limits cannot be checked",
            hint="leave the limits out; an audit without attacks says nothing",
            parameters=("fail_above",),
        )
    for metric, limit in limits.items():
        worst = max(evaluations, key=lambda e: _rank(_read(e, metric)), default=None)
        measured = None if worst is None else _read(worst, metric)
        rows.append(
            {
                "metric": metric,
                "limit": limit,
                "measured": measured,
                "attack": None if worst is None else worst.attack,
                "exceeded": measured is not None and not measured <= limit,
                "complete": not late,
            }
        )
    return rows


def _read(evaluation: Evaluation, metric: str) -> float:
    return float(evaluation.to_json()[metric])


def _rank(measured: float) -> float:
    """The value to compare; nan counts as the worst."""
    return math.inf if math.isnan(measured) else measured
