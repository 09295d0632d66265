"""Parts of docs/questions/ on single attacks: how much material they take, and what they reach."""

import statistics
from typing import Any

from record_tables import hardware, load, table

from cipherlens.experiments.settings import name_cipher

Record = dict[str, Any]
AGAIN = 0.05
"""Share of originals found again among 200 that is worth a word; chance is 0.005."""


def permutations() -> str:
    """How large permutations of pixels fall to ciphertexts alone."""
    record = load("correlation.json")
    if record is None:
        return ""
    rows = []
    for row in sorted(record["results"]["rows"], key=lambda row: row["side"]):
        mean = {name: statistics.mean(key[name] for key in row["per_key"]) for name in row["per_key"][0]}
        least = min(key["right"] for key in row["per_key"])
        rows.append(
            [
                f"{row['side']}x{row['side']}",
                f"{row['ciphertexts']:,}",
                f"{row['prior']:,}" if row["prior"] else "none",
                str(row["keys"]),
                f"{mean['right']:.2%}" + (f" (least {least:.2%})" if row["keys"] > 1 else ""),
                f"{mean['displacement']:.2f}",
                f"{mean['ssim']:.3f}",
                f"{mean['seconds']:.3g}",
            ]
        )
    header = ["images", "ciphertexts", "public images", "keys", "pixels in their places"]
    header += ["pixels off, mean", "SSIM", "seconds"]
    return (
        "### Permutations of pixels, ciphertexts alone\n\n"
        "`correlation`; 32x32: CIFAR-10, else photos of imagenette. Places up to a symmetry of the square.\n\n"
        f"{table(header, rows)}\n\n{hardware(record)}\n"
    )


def pairs() -> str:
    record = load("known-pairs.json")
    if record is None:
        return ""
    results = record["results"]
    rows = [
        [
            name_cipher({"name": row["cipher"], **row["params"]}),
            f"{row['side']}x{row['side']}",
            *(str(row[name] or f"more than {row['most']}") for name in ("pairs", "queries", "noisy_pairs")),
        ]
        for row in results["rows"]
    ]
    header = ["scheme", "images", "known pictures", "chosen pictures", "known pictures, with noise"]
    return (
        "### Known and chosen pictures\n\n"
        f"The fewest pictures in both forms with which all {results['scored']} others come back exactly, under all "
        f"of {results['keys']} keys; with noise (standard deviation one level on all ciphertexts), with which 99 % "
        f"of the values come back within three levels.\n\n{table(header, rows)}\n\n{hardware(record)}\n"
    )


def puzzles() -> str:
    """What a jigsaw puzzle solver puts back."""
    record = load("jigsaw.json")
    if record is None:
        return ""
    rows = [
        [
            f"{row['cipher']} block={row['block']}",
            f"{row['side']}x{row['side']}",
            "each with a key of its own" if row["budget"] == 1 else str(row["budget"]),
            f"{row['runs']} {'pictures' if row['budget'] == 1 else 'keys'}",
            *(spread(row[name], 2) for name in ("direct", "neighbours", "largest")),
            spread(row["ssim"], 3),
            f"{row['guess_ssim']['mean']:.2f}",
            f"{row['seconds']['mean']:.3g}",
        ]
        for row in record["results"]["rows"]
    ]
    header = ["scheme", "images", "pictures under one key", "over", "blocks in place", "neighbours", "largest part"]
    header += ["SSIM", "guessing", "seconds"]
    return (
        "### Blocks, ciphertexts alone\n\n"
        "`jigsaw`; 32x32: CIFAR-10, 224x224: photos of imagenette, none on which its constants were chosen. "
        "Mean (least to most) of the shares of blocks in place (Dc), of pairs of neighbours put together (Nc), "
        f"and of the largest part that is right in itself (Lc).\n\n{table(header, rows)}\n\n{hardware(record)}\n"
    )


def spread(values: dict[str, float], digits: int) -> str:
    mean, least, most = (f"{values[name]:.{digits}f}" for name in ("mean", "min", "max"))
    return mean if least == most else f"{mean} ({least} to {most})"


def learned() -> str:
    """What networks trained to undo a scheme read."""
    record = load("learned-attacks.json")
    if record is None:
        return ""
    results = record["results"]
    attacks = list(dict.fromkeys(row["attack"] for row in results["rows"]))
    schemes: dict[str, dict[str, Record]] = {}
    for row in results["rows"]:
        if row["run"] == 0:
            schemes.setdefault(name_cipher(row["scheme"]), {})[row["attack"]] = row
    rows = [
        [scheme, *(describe(mine.get(attack)) for attack in attacks), quote(results["published"], scheme)]
        for scheme, mine in schemes.items()
    ]
    return (
        "### Networks trained to undo a scheme\n\n"
        f"CIFAR-10, one key, {results['seen']:,} ciphertexts or known pairs, {results['public']:,} public training "
        "images, one training each: mean SSIM of pictures that were not known (guessing), and the share of the "
        "originals found again by them, among 200, where it is not chance. In bold what beats guessing. "
        f"*Published*: {results['published']['source']}.\n\n"
        f"{table(['scheme', *attacks, 'published (*gan*, *itn*)'], rows)}\n\n{hardware(record)}\n"
    )


def describe(row: Record | None) -> str:
    if row is None:
        return "not measured"
    told = f"{row['ssim']:.3f}"
    again = f", {row['reidentified']:.0%} found again" if (row["reidentified"] or 0) > AGAIN else ""
    return f"{f'**{told}**' if row['beats_guessing'] else told} ({row['guess_ssim']:.2f}{again})"


def quote(published: Record, scheme: str) -> str:
    """The published figures of a scheme, which say nothing of a key for each image."""
    found = None if "per_image" in scheme else published.get(scheme.split(maxsplit=1)[0])
    return "" if found is None else f"*{found['gan']:.3f}*, *{found['itn']:.3f}*"
