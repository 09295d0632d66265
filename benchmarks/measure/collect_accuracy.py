"""Record the test accuracy of finished runs: collect_accuracy.py RUN... --out results/NAME.json."""

import argparse
from pathlib import Path

from cipherlens.auditing.accuracy import read_accuracy
from cipherlens.records import write_record

NOTE = "One seed each, no augmentation, same network, epochs and data order; accuracy after the last epoch."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = [read_accuracy(run) for run in options.runs]
    command = "cipherlens train SEALED --model preresnet20 [--adapt --start random] --epochs 10 --threads 1"
    write_record(options.out, command, {"runs": rows, "seeds": [0], "note": NOTE})
    for row in rows:
        print(row["name"], row["accuracy"])


if __name__ == "__main__":
    main()
