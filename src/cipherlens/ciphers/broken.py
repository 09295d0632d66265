"""What was measured to read a cipher: generated from the records of results/ by benchmarks/pages/broken_by.py."""

import json
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from typing import Any

from cipherlens.ciphers.base import Cipher

Break = dict[str, Any]
"""One attack that reads a cipher: attack, threat_model, per_image, params (of the cipher that was measured), side
of the images, budget, ssim, exact (every value of every image under all keys), record."""

SSIM_READABLE, SSIM_PARTIAL = 0.6, 0.3
"""Least SSIM of a picture that is read, and of one that is read in part: a convention, not a law of sight."""
_UNITS = {"coa": "ciphertext", "labels": "ciphertext", "kpa": "pair", "cpa": "chosen picture", "model": "model"}


def find_breaks(cipher: Cipher) -> list[Break]:
    """The attacks that read this cipher where it was measured, one row each, those that need least first.

    Rows for other parameters stand in for those that were not measured, but never one key for all images for a key
    per image, or the reverse, and no composition for another.
    """
    best: dict[str, Break] = {}
    for row in _load().get(cipher.name, ()):
        same = row["params"] == cipher.params
        if not same and (cipher.name == "compose" or row["per_image"] != cipher.per_image):
            continue
        known = best.get(row["attack"])
        if known is None or (same, row["ssim"]) > (known["params"] == cipher.params, known["ssim"]):
            best[row["attack"]] = row
    return sorted(best.values(), key=lambda row: list(_UNITS).index(row["threat_model"]))


def describe_breaks(cipher: Cipher) -> str:
    """One line: what breaks the cipher, with how much, and what reads it in part."""
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
    unit = f"{_UNITS[row['threat_model']]}{'s' * (row['budget'] != 1)} of {row['side']}x{row['side']}"
    facts = [*(["ciphertexts only"] if row["threat_model"] == "coa" else []), f"{row['budget']:,} {unit}"]
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
