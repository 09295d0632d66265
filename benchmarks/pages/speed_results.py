"""How long commands take, from results/*.json."""

from typing import Any

from record_tables import hardware, load, table


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
