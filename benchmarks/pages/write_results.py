"""Generate docs/results.md and docs/er-cnn.md from results/*.json: python benchmarks/pages/write_results.py."""

import json
from pathlib import Path
from typing import Any

from cipher_results import section as describe_ciphers
from ercnn_results import write_page
from export_results import section as describe_exports
from front_end_results import section as describe_front_ends
from fuzz_results import section as describe_inputs
from leakage_results import section as describe_leakage
from locked_results import section
from record_tables import hardware, load, table
from service_results import section as describe_service

ROOT = Path(__file__).parents[2]
HEAD = """# Results

Generated from `results/*.json` by `python benchmarks/pages/write_results.py`; do not edit. Every row was measured
by this project on the hardware that its record names, unless it is marked *published*.
"""


def accuracy() -> str:
    record = load("cifar10-accuracy.json")
    if record is None:
        return ""
    rows = [
        [r["name"], r["model"], str(r["epochs"]), f"{r['accuracy']:.2%}", str(r["n"])]
        for r in record["results"]["runs"]
    ]
    header = ["images", "network", "epochs", "test accuracy, last epoch", "test images"]
    return (
        "## What a provider learns without the key (CIFAR-10, JPEG)\n\n"
        f"{table(header, rows)}\n\n{record['results']['note']}\n\n{hardware(record)}\n"
    )


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


def speed() -> str:
    parts = []
    sealing, hill = load("seal-speed.json"), load("hill-throughput.json")
    kept = load("page-faults.json")
    if sealing:
        r = sealing["results"]
        parts.append(
            f"Sealing all {r['images']:,} CIFAR-10 images with Hill {r['block']}x{r['block']} in {r['workers']} "
            f"processes runs at {r['seal_images_per_second']:,.0f} images/s, "
            f"{r['seal_speed_relative_to_decoding']:.0%} of the speed of merely decoding them in as many processes "
            f"({r['decode_images_per_second']:,.0f} images/s; medians of {len(r['seal_seconds'])} runs in turn). "
            f"{hardware(sealing)}\n"
        )
    if hill:
        rows = [
            [
                str(r["cores"]),
                f"{r['images_per_second']:,.0f}",
                f"{r['loop_images_per_second']:,.0f}",
                f"{r['times_the_loop']:.1f}",
            ]
            for r in hill["results"]["rows"]
        ]
        header = ["cores", "images/s", "the report's loop, images/s", "ratio"]
        parts.append(f"Hill 8x8 on 224x224 images:\n\n{table(header, rows)}\n\n{hardware(hill)}\n")
    if kept:
        rows = [
            [
                f"{r['model']}, {r['side']}x{r['side']}, batch {r['batch']}, {r['precision']}",
                *(f"{speed:,.0f}" for speed in r["images_per_second"]),
                f"{r['ratio']:.2f}",
                f"{r['kernel_share'][0]:.0%}, {r['kernel_share'][1]:.0%}",
            ]
            for r in kept["results"]["rows"]
        ]
        header = ["training", "images/s", "memory kept, images/s", "ratio", "time in the kernel"]
        parts.append(
            "Training on a CPU as the C library does it, and as cipherlens does, with freed memory kept in the "
            f"process:\n\n{table(header, rows)}\n\n{hardware(kept)}\n"
        )
    if versions := load("version-speed.json"):
        parts.append(describe_versions(versions))
    return "## Speed\n\n" + "\n".join(parts) if parts else ""


def describe_versions(record: dict[str, Any]) -> str:
    """Commands before and after a change of the code (benchmarks/measure/versions.py)."""
    r = record["results"]
    rows = [
        [step, f"{row['old']:.1f}", f"{row['new']:.1f}", f"{row['ratio']:.2f}", f"{row['ratio_of_medians']:.2f}"]
        for step, row in r["steps"].items()
    ]
    header = ["command", "before, s", "after, s", "ratio of the shortest", "ratio of the medians"]
    return (
        f"Whole commands, their start included, at {r['commits']['old']} (before the code was moved) and at "
        f"{r['commits']['new']} (with sealed format 2, the service, exports), in turn, {r['rounds']} rounds. "
        "Every command starts later, since it loads more. Training does more after its steps: it measures "
        "BatchNorm's statistics, and the accuracy on training images, once more. "
        f"Where the two ratios of a command differ, its times scattered: no ratio says more than that.\n\n"
        f"{table(header, rows)}\n\n{hardware(record)}\n"
    )


def main() -> None:
    parts = [
        HEAD,
        accuracy(),
        covariance(),
        describe_leakage(),
        section(),
        describe_front_ends(),
        describe_ciphers(),
        describe_exports(),
        describe_service(),
        describe_inputs(),
        speed(),
    ]
    (ROOT / "docs" / "results.md").write_text("\n".join(part for part in parts if part))
    (ROOT / "docs" / "er-cnn.md").write_text(write_page())


if __name__ == "__main__":
    main()
