"""Parts of docs/questions/ on ciphers: speed, storing EtC as JPEG."""

from typing import Any

from privacy_utility import find_leak
from record_tables import hardware, load, table

HALF = 0.5
BESIDE = ("copy", "decode JPEG")
UNHELPED = ("locked", "folded")
"""Ways that need the key at the provider's."""


def jpeg() -> str:
    record = load("etc-jpeg.json")
    if record is None:
        return ""
    rows: list[dict[str, Any]] = record["results"]["rows"]
    qualities = sorted({row["quality"] for row in rows})
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        found = {row["quality"]: row for row in rows if row["name"] == name}
        cells = [f"{found[q]['psnr']:.1f} dB, {found[q]['bytes_per_pixel']:.2f}" for q in qualities]
        lines.append([name, *cells])
    return (
        "### EtC stored as JPEG\n\nPSNR to the photo after encrypting, storing as JPEG (colour resolution halved), "
        "reading and decrypting, and bytes per pixel.\n\n"
        f"{table(['images', *(f'quality {q}' for q in qualities)], lines)}\n\n"
        f"{record['results']['n']} imagenette test photos, cropped off the grid of their own JPEG. Blocks of 16x16 "
        "cost a few dB, blocks of 8x8 more; one grey picture of YCbCr channels keeps the plain quality and costs "
        f"more bytes. `shf` shows what JPEG does to other schemes.\n\n{hardware(record)}\n"
    )


def throughput() -> str:
    record = load("cipher-throughput.json")
    if record is None:
        return ""
    cases = {case["side"]: case for case in record["results"]["cases"]}
    small, large = cases[32], cases[224]
    lines = []
    for name, value in large["milliseconds"].items():
        loop = small["loop_seconds"].get(name)
        ratio = "" if loop is None else f"{1000 * loop / small['milliseconds'][name]:,.0f}"
        share = value / large["milliseconds"]["decode JPEG"]
        lines.append([name, f"{small['milliseconds'][name]:.4f}", f"{value:.3f}", f"{share:.2f}", ratio])
    header = [
        "",
        "32x32, ms an image",
        "224x224, ms an image",
        "of a JPEG decode",
        "times the loop's speed (32x32)",
    ]
    shares = {name: value / large["milliseconds"]["decode JPEG"] for name, value in large["milliseconds"].items()}
    slow = [f"{name} {share:.2f}" for name, share in shares.items() if share > HALF and name not in BESIDE]
    return (
        f"### Encryption, one core\n\n{table(header, lines)}\n\nMore than half of a JPEG decode: "
        f"{', '.join(slow)}. Half bytes are gathered twice, and a key per image is expanded anew; matrices "
        "multiply every value, and one for whole patches has the most to do: there the limit is arithmetic.\n\n"
        f"{small['images']} images of 32x32 in blocks of {small['block']}, {large['images']} photos of 224x224 in "
        f"blocks of {large['block']}; JPEG quality "
        f"{record['results']['quality']}. The loop goes over images, blocks and values "
        "in Python; key schedules do not count.\n\n"
        f"{hardware(record)}\n"
    )


def folding() -> str:
    record = load("fold-equality.json")
    if record is None:
        return ""
    rows = record["results"]["rows"]
    lines = [
        [
            row["model"],
            row["cipher"],
            f"{row['relative_error']:.0e}",
            "" if row["condition"] is None else f"{row['condition']:,.0f}",
            f"{row['decisions'] - row['different']:,} of {row['decisions']:,}",
            f"{row['fold_seconds']:.2f}",
            f"{row['time_ratio']:.2f}",
        ]
        for row in rows
    ]
    header = ["network", "cipher", "logit error", "condition", "same decision", "seconds to fold", "time ratio"]
    return (
        "### Folded networks\n\nPlain against folded, random weights, generated images at 224x224, float32; the "
        "mean logits are taken away before deciding. The error is relative to the largest logit; condition is "
        "that of the worst Hill matrix; times are of a batch of 8, as a ratio to the plain network's."
        f"\n\n{table(header, lines)}\n\n{hardware(record)}\n"
    )


def comparison() -> str:
    record = load("scheme-comparison-cpu.json")
    if record is None:
        return ""
    results = record["results"]
    lines = []
    for row in results["rows"]:
        spread = "" if row["min"] == row["max"] else f" ({row['min']:.1%} to {row['max']:.1%})"
        read = "; ".join(f"{a['attack']} {a['ssim']:.2f} (guessing {a['guess_ssim']:.2f})" for a in row["leakage"])
        published = results["published"].get(f"{row['scheme'].split()[0]}, {row['way']}")
        if row["model"] != results["rows"][0]["model"]:
            published = None  # those are of one convolutional network, as ours in the first row
        lines.append(
            [
                row["scheme"],
                row["model"],
                row["way"],
                f"{row['mean']:.1%}{spread}",
                f"{row['parameters'] / 1e6:.2f}",
                f"{row['milliseconds']:.3f}",
                f"{row['bytes_per_image']:,.0f}",
                read or ("readable" if row["scheme"] == "identity" else "no attack here yet"),
                "" if published is None else f"*{published}*",
            ]
        )
    header = [
        *("scheme", "network", "help", "test accuracy", "M parameters", "ms to encrypt", "bytes an image"),
        *("SSIM of attacks", "*published*, Shake-PyramidNet-110"),
    ]
    base = ", ".join(f"{key} {value}" for key, value in results["base"].items())
    seeds = len(results["seeds"])
    images = ", ".join(f"{count:,} {split}" for split, count in results["images"].items())
    return (
        f"### Schemes side by side\n\n{find(results['rows'])}\n\n"
        f"{table(header, lines)}\n\n{results['source']} "
        f"({images} images), {base}, {seeds} seeds, last epoch; every network got the same budget.\n\n"
        f"{hardware(record)}\n"
    )


def find(rows: list[dict[str, Any]]) -> str:
    """What the table says, in words."""
    plain = {row["model"]: row["mean"] for row in rows if row["scheme"] == "identity"}

    def known(row: dict[str, Any]) -> float:
        return float(plain.get(row["model"], 1.0))

    learned = [row for row in rows if row["scheme"] != "identity" and row["way"] not in UNHELPED]
    learned.sort(key=lambda row: known(row) - row["mean"])
    best = learned[0]
    attacked = [row for row in learned if find_leak(row["leakage"])]
    quiet = min(attacked, key=lambda row: (find_leak(row["leakage"]) or 0.0, -row["mean"]))
    spared = ", ".join(dict.fromkeys(row["scheme"] for row in learned if row not in attacked)) or "none"
    changes = [
        f"{row['scheme']} {100 * (row['mean'] - bare['mean']):+.1f} points ({row['way']})"
        for row in learned
        if row["way"] != "none"
        for bare in learned
        if (bare["scheme"], bare["model"], bare["way"]) == (row["scheme"], row["model"], "none")
    ]
    kept = "; ".join(
        f"{row['scheme']} on {row['model']}, {row['way']}: {row['mean']:.2%} (plain {known(row):.2%})"
        for row in rows
        if row["way"] in UNHELPED
    )
    return (
        f"**Most accuracy**, trained on encrypted images: {best['scheme']} on {best['model']} (help: "
        f"{best['way']}) with {best['mean']:.1%}, plain {known(best):.1%}; {describe_leak(best)}. **Least "
        f"leakage** to our ciphertext-only attacks: {quiet['scheme']} on {quiet['model']} (help: {quiet['way']}) "
        f"with {quiet['mean']:.1%}; {describe_leak(quiet)}. No ciphertext-only attack of ours applies to {spared}, "
        "which does not mean that none exists. **Adaptation networks** change the accuracy by: "
        f"{', '.join(changes)}. **With the key in the model** the plain accuracy stays: {kept}."
    )


def excess(attack: dict[str, Any]) -> float:
    return float(attack["ssim"] - attack["guess_ssim"])


def describe_leak(row: dict[str, Any]) -> str:
    parts = []
    for model, name in (("coa", "ciphertexts only"), ("kpa", "known pictures")):
        attacks = [attack for attack in row["leakage"] if attack["threat_model"] == model]
        if attacks:
            worst = max(attacks, key=excess)
            parts.append(
                f"{name}: {worst['attack']} with {worst['budget']:,} reaches SSIM {worst['ssim']:.2f} "
                f"(guessing {worst['guess_ssim']:.2f})"
            )
    return "; ".join(parts) or "no attack of ours applies, which does not mean that none exists"
