"""What leaks, in docs/questions/leaks.md: the best attacks, with one key and with a key for each image."""

from typing import Any

from record_tables import hardware, load, table

Record = dict[str, Any]
MODELS = {"coa": "ciphertexts only", "kpa": "known pictures", "cpa": "chosen pictures"}


def leaderboard(name: str) -> str:
    record = load(name)
    if record is None:
        return ""
    results = record["results"]
    rows = [describe(results, scheme) for scheme in dict.fromkeys(row["scheme"] for row in results["rows"])]
    failed = [control for control in results["controls"] if not control["passed"]]
    controls = f"{len(results['controls']) - len(failed)} of {len(results['controls'])} controls passed"
    warning = "; not to be believed: " + ", ".join(
        f"{control['attack']} on {control['scheme']} ({control['control']})" for control in failed
    )
    return (
        "### The best attack on each scheme\n\n"
        f"{results['source']}, {results['keys']} keys, prior {results['prior']}. For every threat model the best "
        "attack (farthest above guessing) at its smallest and largest budget: mean SSIM (1 is the same picture), "
        "what guessing scores with the same help, and how many keys were found exactly. *Fitted*: the best affine "
        "map or mirror image was granted. "
        f"{controls}{warning if failed else ''}.\n\n"
        f"{table(['scheme', *MODELS.values()], rows)}\n\n{hardware(record)}\n"
    )


def describe(results: Record, scheme: str) -> list[str]:
    mine = [row for row in results["rows"] if row["scheme"] == scheme]
    cells = []
    for model in MODELS:
        rows = [row for row in mine if row["threat_model"] == model]
        best: dict[int, Record] = {}
        for row in sorted(rows, key=lambda row: (row["budget"], row["ssim"]["mean"] - row["guess_ssim"])):
            best[row["budget"]] = row
        ends = dict.fromkeys((min(best), max(best))) if best else ()
        cells.append("; ".join(show(best[end]) for end in ends) or "no attack of ours")
    return [scheme, *cells]


def show(row: Record) -> str:
    keys = f", {row['keys_recovered']} of {row['keys']} keys" if row["keys_recovered"] else ""
    fitted = "" if row["alignment"] == "none" else "*fitted*, "
    score = f"{row['ssim']['mean']:.3f} ({fitted}guessing {row['guess_ssim']:.2f})"
    return f"{row['attack']} with {row['budget']:,}: {score}{keys}"


def apart(name: str) -> str:
    """What is left where every image has a key of its own."""
    record = load(name)
    if record is None:
        return ""
    found: dict[str, list[Record]] = {}
    for row in record["results"]["key_per_image"]:
        found.setdefault(row["scheme"], []).append(row)
    rows = [[scheme, "; ".join(map(show_alone, attacks))] for scheme, attacks in found.items()]
    return (
        "### A key for each image\n\n"
        f"Each of {record['results']['key_per_image'][0]['n']} images under a key of its own, attacked alone; for "
        "schemes that are not here no attack of ours says anything about one image. In bold what beats guessing. "
        "`negpos`, `pe` and `etc` with `per_image` are in the table above, with more images.\n\n"
        f"{table(['scheme', 'SSIM of each attack'], rows)}\n"
    )


def show_alone(row: Record) -> str:
    fitted = "" if row["alignment"] == "none" else "*fitted*, "
    told = f"{row['attack']} {row['ssim']['mean']:.2f}"
    return f"{f'**{told}**' if row['beats_guessing'] else told} ({fitted}guessing {row['guess_ssim']:.2f})"
