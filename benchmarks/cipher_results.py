"""The part of docs/results.md about ciphers: speed, storing EtC as JPEG."""

from typing import Any

from record_tables import hardware, load, table


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
    return (
        f"### Encryption, one core\n\n{table(header, lines)}\n\n{small['images']} images of 32x32 in blocks of "
        f"{small['block']}, {large['images']} photos of 224x224 in blocks of {large['block']}; JPEG quality "
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
        f"### Schemes side by side\n\n{table(header, lines)}\n\n{results['source']} ({images} images), {base}, "
        f"{seeds} seeds, last epoch; every network got the same budget.\n\n{hardware(record)}\n"
    )


def section() -> str:
    found = [part for part in (comparison(), folding(), throughput(), jpeg()) if part]
    return "## Ciphers\n\n" + "\n".join(found) if found else ""
