"""Texts of an audit: threat models, controls, scores, accuracies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cipherlens.ciphers.broken import SSIM_PARTIAL, SSIM_READABLE
from cipherlens.ciphers.threat_models import (
    CHOSEN_PLAINTEXT,
    CIPHERTEXT_ONLY,
    KNOWN_PLAINTEXT,
    LABELLED,
    MODEL_IN_HAND,
    THREAT_MODELS,
)
from cipherlens.data.sources.base import ALL
from cipherlens.evaluation.target import DOMAIN, ELSEWHERE, NOTHING

Record = Mapping[str, Any]

READABLE, PARTLY, UNREAD = "readable", "partly readable", "no attack of this audit read the pictures"
LEVELS = {READABLE: SSIM_READABLE, PARTLY: SSIM_PARTIAL}
"""Minimum SSIM of each verdict, the highest first."""


@dataclass(frozen=True)
class Attacker:
    """Texts of one threat model: plain ``name``, technical ``term``, subject ``who``, ``has`` with a budget."""

    name: str
    term: str
    who: str
    has: str


_ATTACKERS = {
    CIPHERTEXT_ONLY: Attacker(
        "Eavesdropper",
        "ciphertext only, COA",
        "Anybody who sees the encrypted images",
        "sees {budget} and nothing else of yours, as whoever gets at an upload, the provider's disk or a backup; "
        "has neither the key nor a single original",
    ),
    LABELLED: Attacker(
        "Trains on them",
        "ciphertext only with labels",
        "Anybody who has the encrypted images with their labels, such as the provider",
        "sees {budget} with their classes, and can train networks on them",
    ),
    KNOWN_PLAINTEXT: Attacker(
        "Knows some pictures",
        "known plaintext, KPA",
        "Anybody who sees the encrypted images and has some of the originals",
        "sees encrypted images and also has {budget}, for instance from a publication or a leak",
    ),
    CHOSEN_PLAINTEXT: Attacker(
        "Chooses pictures",
        "chosen plaintext, CPA",
        "Anybody who can have pictures of their own choice encrypted",
        "sees encrypted images and can have pictures of their own choice encrypted under the key ({budget})",
    ),
    MODEL_IN_HAND: Attacker(
        "Holds the model",
        "model in hand",
        "Anybody who holds the model file",
        "sees encrypted images and holds the keyed model file, as whoever runs, copies or steals it does "
        "({budget})",
    ),
}
ATTACKERS = {model.name: _ATTACKERS[model] for model in THREAT_MODELS.values()}
"""By the threat model's name in a report, the weakest attacker first."""

CONTROLS = {
    "identity": (
        "pictures that are not encrypted at all",
        "The attack should give them back. If it does not, it had too little to go by: its other results are lower "
        "bounds.",
    ),
    "stream": (
        "real encryption, fresh for every picture (a stream cipher)",
        "Nobody can read it, so the attack must do no better than guessing. If it does, the scoring flatters it, "
        "and its other results are not counted.",
    ),
}

METRICS = {"ssim": "similarity (SSIM)", "psnr": "PSNR in dB", "exact_pixels": "share of exact pixel values"}
"""Names of the metrics that can have a limit."""

_EXACT, _CLOSE, _SEEN = "exactly the originals", "close to the originals", "one can see what is in the pictures"
_OUTLINES = "outlines and colours show, some pictures can be recognised"
_LITTLE, _NOTHING = "more than a guess, hardly anything to recognise", "no better than guessing"
_GOT = {
    _EXACT: "pictures that are exactly the originals, every pixel of them",
    _CLOSE: "pictures that are close to the originals",
    _SEEN: "pictures in which one can see what is shown",
    _OUTLINES: "outlines and colours, in which some pictures can be recognised",
    _LITTLE: "more than a guess, but hardly anything to recognise",
    _NOTHING: "nothing better than a guess",
}

_KNOWN = {
    NOTHING: "no other pictures",
    ELSEWHERE: "pictures of another origin",
    DOMAIN: "other pictures of the same kind",
}
"""What attackers know of pictures in general."""
_UNITS = {
    "known pairs": ("original picture with its encrypted form", "original pictures with their encrypted form"),
    "oracle queries": ("chosen picture", "chosen pictures"),
}


def printable(text: str, limit: int | None = None) -> str:
    """The text without line breaks and control characters, cut to ``limit`` characters."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 1]}…"


def unit_words(attack: Record) -> str:
    """The unit of the attack's budget: ``encrypted images``, ``known pairs``."""
    return str(attack["budget_unit"]).replace("ciphertexts", "encrypted images")


def title_words(attack: Record) -> str:
    """Title of the pictures of an attack at a budget: ``covariance (1,000 ciphertexts)``."""
    known = attack.get("knowledge")
    knowing = f", knows {_KNOWN[known]}" if known else ""
    return f"{attack['attack']} ({attack['budget']:,} {attack['budget_unit']}{knowing})"


def knowing_words(attack: Record) -> str:
    """What the attacker knew besides, for the middle of a sentence; nothing where it does not matter."""
    known = attack.get("knowledge")
    return f" and {_KNOWN[known]}" if known else ""


def budget_words(attack: Record) -> str:
    """The attack's budget for a sentence: ``1,000 encrypted images``; known pairs are explained."""
    unit = unit_words(attack)
    singular, plural = _UNITS.get(unit, (unit.removesuffix("s"), unit))
    return f"{attack['budget']:,} {singular if attack['budget'] == 1 else plural}"


def missing_words(row: Record) -> str:
    """What was not run, for a list: an attack, an attack with its budget, or its controls."""
    if row["what"] == "controls":
        return f"the controls of {row['attack']}"
    return str(row["attack"]) if row["budget"] is None else f"{row['attack']} with {budget_words(row)}"


def attacker_words(attack: Record) -> str:
    """The attacker's knowledge and budget."""
    return ATTACKERS[attack["threat_model"]].has.format(budget=budget_words(attack))


def similarity(ssim: float) -> str:
    """SSIM with two decimals, or three where two would round it to 1."""
    return f"{ssim:.3f}" if 0.995 <= ssim < 0.9995 else f"{ssim:.2f}"


def score_words(attack: Record) -> str:
    """The quality of the pictures that an attack reconstructed."""
    if not attack["beats_guessing"]:
        return _NOTHING
    if attack["exact_pixels"] == 1:
        return _EXACT
    levels = {_CLOSE: 0.9, _SEEN: LEVELS[READABLE], _OUTLINES: LEVELS[PARTLY]}
    return next((said for said, level in levels.items() if attack["ssim"] >= level), _LITTLE)


def worst_words(attack: Record) -> str:
    """An attack in two sentences: attacker and result, budget and time."""
    had = f"{budget_words(attack)}{knowing_words(attack)}"
    return (
        f"{ATTACKERS[attack['threat_model']].who} gets back {_GOT[score_words(attack)]}. "
        f"The attack had {had}, and took {duration_words(attack['seconds'])}."
    )


def params_words(params: Record) -> str:
    """Public parameters of a cipher, for example ``block 4, orthogonal no``."""
    names = {True: "yes", False: "no"}
    return ", ".join(f"{n} {names[v] if isinstance(v, bool) else v}" for n, v in params.items()) or "no parameters"


def count_words(splits: Mapping[str, int]) -> str:
    """Number of images in each split; a source without splits has one, which needs no name."""
    total = sum(splits.values())
    named = " + ".join(f"{count:,} {name}" for name, count in splits.items())
    return f"{f'{total:,}' if set(splits) == {ALL} else named} image{'s' * (total != 1)}"


def shape_words(shape: Sequence[int]) -> str:
    """Width, height and colours of (C, H, W)."""
    channels, height, width = shape
    colours = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    return f"{width} × {height} pixels, {colours}"  # noqa: RUF001 (the multiplication sign)


def list_words(items: Sequence[str], limit: int = 12) -> str:
    """The first ``limit`` items, and the number of the others."""
    rest = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {rest:,} more" if rest > 0 else "")


def duration_words(seconds: float) -> str:
    """Seconds, or minutes from 90 seconds on; a no-break space keeps number and unit on one line."""
    if seconds < 0.1:
        return "under 0.1\u00a0s"
    return f"{seconds:.1f}\u00a0s" if seconds < 90 else f"{seconds / 60:.1f}\u00a0min"


def best_accuracies(cipher: str, accuracy: Sequence[Record]) -> dict[str, float]:
    """Best accuracy by name: plain images, encrypted ones as they are, with adaptation, read first, and guessing.

    Only measured ones are included. Accuracies on images under another cipher than ``cipher`` do not count.
    """
    measured = [entry for entry in accuracy if entry["accuracy"] is not None]
    sealed = [entry for entry in measured if entry["cipher"] == cipher != "identity"]
    groups = {
        "plain": [entry for entry in measured if entry["cipher"] == "identity"],
        "encrypted": [entry for entry in sealed if not entry["adaptation"]],
        "encrypted with adaptation": [entry for entry in sealed if entry["adaptation"] and not _is_read(entry)],
        "encrypted, read first": [entry for entry in sealed if _is_read(entry)],
    }
    best = {name: max(entry["accuracy"] for entry in group) for name, group in groups.items() if group}
    return best | {"guessing": max(entry["chance"] for entry in measured)} if best else {}


def _is_read(entry: Record) -> bool:
    """Whether the model sees what an attack reads; reports of earlier versions do not say."""
    return bool(entry.get("read_first"))


def gain_words(best: Mapping[str, float]) -> str:
    """The best accuracies in one phrase."""
    if not best:
        return "none was given, so this audit says what leaks but not what is gained"
    return ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in best.items())
