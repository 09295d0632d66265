"""Time of commands in two versions of cipherlens: sealing, training, locking, testing, attacks.

    python benchmarks/measure/versions.py OLD NEW --out results/version-speed.json

OLD and NEW are checkouts. Every command runs in a process of its own. The versions take turns, in an order that
changes from round to round. Both work on generated images. A ratio above 1 says that NEW is slower.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cipherlens.records import write_record

SOURCE = "synthetic:objects"
ENTRY = "from cipherlens.cli.main import run; run()"
QUICK = ("--model", "preresnet20", "--epochs", "1", "--batch-size", "64", "--threads", "1")
SHOWN = ("--plain", SOURCE, "--seed", "0")
STEPS: dict[str, tuple[str, ...]] = {
    "encrypt, hill": ("encrypt", SOURCE, "hill", "--key", "key", "--cipher", "hill", "--limit", "4000"),
    "encrypt, permutation": ("encrypt", SOURCE, "moved", "--key", "key", "--cipher", "pixel-permutation"),
    "encrypt, plain": ("encrypt", SOURCE, "plain", "--key", "key", "--cipher", "identity", "--limit", "4000"),
    "train": ("train", "plain", *QUICK, "--out", "run"),
    "train, front end": ("train", "hill", "--adapt", *QUICK, "--out", "run-hill"),
    "lock": ("lock", "run", "--key", "key", "--out", "locked"),
    "test, locked": ("test", "locked", "moved", "--key", "key"),
    "covariance": ("attack", "covariance", "hill", "--budget", "1000", *SHOWN),
    "correlation": ("attack", "correlation", "moved", "--budget", "300", *SHOWN),
    "known-plaintext": ("attack", "hill-known-plaintext", "hill", "--budget", "20", *SHOWN),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    trees = {"old": options.old.resolve(), "new": options.new.resolve()}
    seconds: dict[str, dict[str, list[float]]] = {step: {"old": [], "new": []} for step in STEPS}
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            names = list(trees)[:: 1 if number % 2 else -1]
            for name in names:
                (Path(folder) / name).mkdir()
                call(trees[name], Path(folder) / name, ("keygen", "key"))
            for step, arguments in STEPS.items():
                for name in names:
                    seconds[step][name].append(call(trees[name], Path(folder) / name, arguments))
                print(step, {name: round(values[-1], 2) for name, values in seconds[step].items()}, flush=True)
    rows = {step: summarize(**values) for step, values in seconds.items()}
    for step, row in rows.items():
        print(f"{step:22} {row['ratio']:.2f}  ({row['old']:.2f} s, {row['new']:.2f} s)")
    if options.out:
        commits = {name: read_commit(tree) for name, tree in trees.items()}
        command = (
            f"python benchmarks/measure/versions.py {commits['old']} {commits['new']} --rounds {options.rounds}"
        )
        facts = {"source": SOURCE, "rounds": options.rounds, "commits": commits, "steps": rows}
        write_record(options.out, command, facts)


def call(tree: Path, folder: Path, arguments: tuple[str, ...]) -> float:
    """Seconds of one command, its start included."""
    surroundings = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, *arguments], cwd=folder, env=surroundings, capture_output=True, check=False
    )
    taken = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr.decode()}")
    return taken


def summarize(old: list[float], new: list[float]) -> dict[str, Any]:
    """All times, medians, and the ratio of the least times, which other work on the machine disturbs least."""
    return {
        "seconds": {"old": old, "new": new},
        "old": statistics.median(old),
        "new": statistics.median(new),
        "ratio": min(new) / min(old),
        "ratio_of_medians": statistics.median(new) / statistics.median(old),
    }


def read_commit(tree: Path) -> str:
    git = shutil.which("git") or "git"
    done = subprocess.run(
        [git, "rev-parse", "--short", "HEAD"], cwd=tree, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
