"""Attacks that were measured to read a cipher; benchmarks/pages/broken_by.py generates the data from results/."""

import json
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from typing import Any

from cipherlens.ciphers.base import Cipher
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY, THREAT_MODELS

Break = dict[str, Any]
"""One attack that reads a cipher: attack, threat_model, per_image, params (of the measured cipher), side (of the
images), budget, ssim, exact, record. ``exact``: every value of every image was found, under all keys."""

SSIM_READABLE, SSIM_PARTIAL = 0.6, 0.3
"""Minimum SSIM of a readable picture, and of a partly readable one. Conventions of this project."""


def find_breaks(cipher: Cipher) -> list[Break]:
    """The attacks that were measured to read this cipher, one row each, the weakest threat model first.

    Rows for other parameters stand in for parameters that were not measured. They never stand in across one key
    for all images and a key per image, nor for another composition.
    """
    best: dict[str, Break] = {}
    for row in _load().get(cipher.name, ()):
        same = row["params"] == cipher.params
        if not same and (cipher.name == "compose" or row["per_image"] != cipher.per_image):
            continue
        known = best.get(row["attack"])
        if known is None or (same, row["ssim"]) > (known["params"] == cipher.params, known["ssim"]):
            best[row["attack"]] = row
    return sorted(best.values(), key=lambda row: list(THREAT_MODELS).index(row["threat_model"]))


def describe_breaks(cipher: Cipher) -> str:
    """One line: the attacks that read the cipher, with their budgets, and those that read it in part."""
    if cipher.name == "identity":
        return "nothing is needed: the images are not encrypted"
    rows = find_breaks(cipher)
    broken = _join(cipher, (row for row in rows if row["ssim"] >= SSIM_READABLE))
    partly = _join(cipher, (row for row in rows if row["ssim"] < SSIM_READABLE))
    if not rows:
        return "nothing was measured, which does not mean that it holds"
    return "; ".join([*([broken] if broken else []), *([f"read in part by {partly}"] if partly else [])])


def _join(cipher: Cipher, rows: Iterable[Break]) -> str:
    return ", ".join(f"{row['attack']} ({_describe(cipher, row)})" for row in rows)


def _describe(cipher: Cipher, row: Break) -> str:
    model = THREAT_MODELS[row["threat_model"]]
    unit = f"{model.unit}{'s' * (row['budget'] != 1)} of {row['side']}x{row['side']}"
    facts = [*(["ciphertexts only"] if model is CIPHERTEXT_ONLY else []), f"{row['budget']:,} {unit}"]
    ssim = f"{row['ssim']:.3f}" if 0.995 <= row["ssim"] < 0.9995 else f"{row['ssim']:.2f}"
    measured = "" if row["params"] == cipher.params else f", measured with {_name(row['params'])}"
    return f"{', '.join(facts)}: {'exact' if row['exact'] else f'SSIM {ssim}'}{measured}"


def _name(params: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items())


@lru_cache(maxsize=1)
def _load() -> dict[str, list[Break]]:
    loaded: dict[str, list[Break]] = json.loads(
        files("cipherlens.ciphers").joinpath("broken_by.json").read_text("utf-8")
    )
    return loaded
