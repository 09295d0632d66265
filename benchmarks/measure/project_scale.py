"""What sealing a million photos, and a hundred million, would take: computed from records and list prices.

python benchmarks/measure/project_scale.py [--out results/scale-projection.json]

Nothing is measured here. Times per photo are those of results/cipher-throughput.json (decoding and Hill 8x8 at
224x224, one core). Prices are published list prices of Amazon's S3 (us-east-1), and an assumption for a core.
"""

import argparse
import json
from pathlib import Path

from cipherlens.records import write_record

RECORDS = Path(__file__).parents[2] / "results"
ASSUMED = {
    "dollars_per_core_hour": 0.05,
    "dollars_per_1000_get": 0.0004,
    "dollars_per_1000_put": 0.005,
    "dollars_per_gb_month": 0.023,
    "network_gigabits_per_second": 10,
    "cores": 16,
    "bytes_per_photo": 15_000,
    "photos_per_parquet_file": 10_000,
}
"""The last two: JPEG of 224x224, and how many lie in a file where not each has an object of its own."""
VALUES = 3 * 224 * 224
SHARD_BYTES = 16 << 20
SCHEMES = {"hill": 4, "hill-mod256": 1}
"""Bytes per value of a ciphertext."""


def project(scheme: str, milliseconds: dict[str, float]) -> dict[str, float]:
    """For a million photos."""
    million, stored = 1e6, SCHEMES[scheme] * VALUES
    core_seconds = million * (milliseconds["decode JPEG"] + milliseconds[scheme]) / 1e3
    shards = million / (SHARD_BYTES // stored)
    moved = million * (stored + ASSUMED["bytes_per_photo"])
    return {
        "scheme": scheme,
        "core_seconds": core_seconds,
        "seconds_on_the_cores": core_seconds / ASSUMED["cores"],
        "seconds_on_the_network": moved * 8 / (ASSUMED["network_gigabits_per_second"] * 1e9),
        "dollars_cores": core_seconds / 3600 * ASSUMED["dollars_per_core_hour"],
        "dollars_get_each": million / 1e3 * ASSUMED["dollars_per_1000_get"],
        "dollars_get_parquet": million / ASSUMED["photos_per_parquet_file"] / 1e3 * ASSUMED["dollars_per_1000_get"],
        "dollars_put": 2 * shards / 1e3 * ASSUMED["dollars_per_1000_put"],  # a shard, and its line of the journal
        "bytes_per_image": stored,
        "terabytes": million * stored / 1e12,
        "dollars_stored_a_month": million * stored / 1e9 * ASSUMED["dollars_per_gb_month"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RECORDS / "scale-projection.json")
    options = parser.parse_args()
    cases = json.loads((RECORDS / "cipher-throughput.json").read_text())["results"]["cases"]
    milliseconds = next(case["milliseconds"] for case in cases if case["side"] == 224)
    rows = [project(scheme, milliseconds) for scheme in SCHEMES]
    hundred = [
        {"scheme": row["scheme"]} | {name: 100 * v for name, v in row.items() if name != "scheme"} for row in rows
    ]
    results = {"computed": "not measured", "assumed": ASSUMED, "million": rows, "hundred_million": hundred}
    write_record(options.out, "python benchmarks/measure/project_scale.py", results)


if __name__ == "__main__":
    main()
