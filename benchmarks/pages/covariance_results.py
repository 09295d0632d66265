"""What `covariance` reads, from results/covariance-*.json."""

import json
from pathlib import Path

from record_tables import hardware, table

ROOT = Path(__file__).parents[2]


def covariance() -> str:
    rows, records = [], []
    for path in sorted((ROOT / "results").glob("covariance-*.json")):
        record = json.loads(path.read_text())
        r = record["results"]
        records.append(record)
        rows.append(
            [
                r["source"],
                r.get("cipher", "hill"),
                f"{r['block']}x{r['block']}",
                f"{r['ciphertexts']:,}"
                + (f", mean of {r['images']}" if r["ciphertexts"] < r.get("images", 0) else ""),
                r["prior"] + (f", {r['starts']} starts" if r.get("starts", 1) > 1 else ""),
                f"{r['ssim']:.4f} ({r['ssim_min']:.4f} to {r['ssim_max']:.4f}, {r['keys']} keys)",
                f"{r['psnr']:.1f}",
                f"{r['seconds']:.1f}",
                f"{r['guess_ssim']:.3f}",
                f"{r['stream_control_ssim']:.3f}",
            ]
        )
    if not rows:
        return ""
    header = [
        "images",
        "cipher",
        "block",
        "ciphertexts",
        "prior",
        "SSIM",
        "PSNR dB",
        "seconds",
        "guessing",
        "stream",
    ]
    return (
        "## What an eavesdropper reads (`covariance`, ciphertexts only)\n\n"
        "Mean SSIM over all images and channels against the originals; 1 is the same picture. *Guessing*: the mean "
        "picture. *Stream*: the same attack on a real cipher.\n\n"
        f"{table(header, rows)}\n\n" + "\n".join(f"- {hardware(record)}" for record in records) + "\n"
    )
