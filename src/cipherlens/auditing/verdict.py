"""The verdict of an audit in words: the result, its limits, the advice."""

from collections.abc import Mapping, Sequence

from cipherlens.auditing.wording import (
    ATTACKERS,
    LEVELS,
    PARTLY,
    READABLE,
    UNREAD,
    Record,
    budget_words,
    knowing_words,
    list_words,
    similarity,
)

OUT_OF_TIME = "out of time"
"""Reason for a job that was not run because the time was over."""


def list_late(missing: Sequence[Record]) -> list[Record]:
    """The rows of ``missing`` that were not run because the time was over."""
    return [row for row in missing if row["reason"] == OUT_OF_TIME]


def verdict_words(verdict: str, best: Record | None, attacked: bool, counted: bool) -> str:
    """The verdict in a few sentences; ``best`` is the attack it is based on. ``counted``: some figures count."""
    if not counted:
        return f"No attack {'counts' if attacked else 'was run'}, so this audit says nothing about these images."
    caution = "That is no proof that nobody can: other attacks may get further."
    if best is None:
        return f"No attack of this audit did better than guessing. {caution}"
    got = (
        f"Given {budget_words(best)}{knowing_words(best)}, the {best['attack']} attack gave back pictures with "
        f"similarity {similarity(best['ssim'])} of 1 to the originals. "
        f"Guessing gives {similarity(best['guess_ssim'])}."
    )
    if verdict == UNREAD:
        return f"No attack of this audit gave back recognisable pictures. Yet something leaks. {got} {caution}"
    extent = "can read them" if verdict == READABLE else "can read part of what they show"
    return f"{ATTACKERS[best['threat_model']].who} {extent}. {got}"


def late_words(late: Sequence[Record], headline: Record | None) -> str:
    """The warning about jobs that exceeded the time; no more can leak where the weakest attacker reads all."""
    names = list(dict.fromkeys(row["attack"] for row in late))
    weakest = next(iter(ATTACKERS))
    everything = headline is not None and headline["threat_model"] == weakest and headline["exact_pixels"] == 1
    more = "" if everything else ", so more may leak than was found"
    return f"Time was too short for all of it ({list_words(names)}){more}."


def advise(
    cipher: str, verdict: str, worst: Mapping[str, Record | None], exceeded: bool, late: Sequence[Record] = ()
) -> list[str]:
    """Advice, the most urgent first."""
    if cipher == "stream":
        return [
            "This is real encryption: keep the key, and the pictures stay private. No model can learn from them "
            "either; decrypt them where you train.",
        ]
    advice = []
    if exceeded:
        advice.append("More leaks than the limit you set: do not hand these images out.")
    if cipher == "identity":
        advice.append("These images are not encrypted at all: choose a cipher, or handle them as what they are.")
    advice.append(
        "Treat the sealed images like the plain ones toward everybody outside your contract with the provider: "
        "the same access rights, the same deletion dates, the same law."
    )
    if verdict == UNREAD:
        advice.append(
            "Do not take this result for a guarantee: it covers the attacks listed here with the material "
            "listed here, and attacks get better with time."
        )
    if late:
        advice.append("Run the audit again with more time: some of the attacks were not finished.")
    known = worst.get("kpa")
    if known is not None and known["ssim"] >= LEVELS[PARTLY]:
        advice.append(
            f"Keep originals apart from their encrypted form: {budget_words(known)} "
            f"{'was' if known['budget'] == 1 else 'were'} enough to read others. Where originals got out, count "
            "every image under that key as open."
        )
    return advice + _STANDING_ADVICE


COST_SOURCES = (
    "FHE: ResNet-20 on a processor, arXiv 2508.11575 (1,145 seconds); on GPUs, arXiv 2407.13055",
    "MPC: VGG-16 among three parties on one network, Wagh et al., PoPETs 2021(1), 188-208",
    "TEE: language models on an NVIDIA H100, arXiv 2409.03992 (usually below 7% slower)",
)
"""Where the costs of techniques made for private inference were published."""
_STANDING_ADVICE = [
    "A keyed transform is obfuscation and access control, not encryption: it keeps pictures from a casual "
    "look and decides who can use a model. It does not keep out somebody who wants to look.",
    "For transport and storage add real encryption: TLS on the way, AES on the disk.",
    "Use a new key for every data set: all images under one key fall together.",
    "Where the provider must not be able to see the pictures at all, use a technique made for that, and know "
    "its cost. Fully homomorphic encryption (FHE): about twenty minutes for one picture of 32 x 32 pixels on a "
    "processor, seconds on a GPU. Multi-party computation (MPC): several operators who do not collude, about a "
    "second and tens of megabytes of traffic for such a picture. A trusted execution environment (TEE): usually "
    "less than a tenth slower, on special hardware whose maker must be trusted.",
]
