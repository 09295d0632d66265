"""``python -m tests.security.fuzz``: so many mutated inputs, a table, and exit code 1 if anything failed."""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from tests.security.fuzz.guard import DECODING, GROWTH
from tests.security.fuzz.report import Tally
from tests.security.fuzz.runner import Chunk, cut, make_environment, run_chunks
from tests.security.fuzz.targets import IN_PROCESS, TARGETS

_PROCESS_SHARE = 0.06
"""Of the inputs through the command line, so many have a process of their own."""


def main(arguments: list[str]) -> int:
    """Run what is asked for; the exit code."""
    asked = _parse(arguments)
    if asked.repeat:
        return _repeat(asked.repeat, asked.seed)
    tally = Tally(asked.seed)
    chunks = plan(asked.inputs, asked.cli, asked.seed, asked.only)
    total, started = sum(chunk.count for chunk in chunks), time.monotonic()
    stop = threading.Event()
    threading.Thread(target=_tell, args=(tally, total, started, stop), daemon=True).start()
    complete = run_chunks(chunks, asked.jobs, tally.add, None if asked.minutes is None else 60 * asked.minutes)
    stop.set()
    print(tally.format())
    if asked.record:
        add_to_record(asked.record, asked.seed, tally.to_json() | {"complete": complete})
    if not complete:
        print(f"\nout of time: {tally.inputs} of {total} inputs were tried")
    print(
        f"\n{tally.inputs} inputs, {tally.failures} failures, {time.monotonic() - started:.0f} s, seed {asked.seed}"
    )
    return 1 if tally.failures else 0


def plan(inputs: int, through_cli: int, seed: int, only: str | None = None) -> list[Chunk]:
    """Inputs by the targets' shares, their chunks mixed, so that each target has its turn where time is short."""
    if only:
        counts = {only: through_cli if only in ("cli", "process") else inputs}
    else:
        whole = sum(kind.share for kind in IN_PROCESS)
        counts = {kind.name: inputs * kind.share // whole for kind in IN_PROCESS}
        counts["image"] += inputs - sum(counts.values())
        counts["process"] = int(through_cli * _PROCESS_SHARE)
        counts["cli"] = through_cli - counts["process"]
    sizes = {"process": 10, "cli": 50, "journal": 100}
    parts = [cut(name, seed, count, sizes.get(name, 250)) for name, count in counts.items()]
    return [chunk for chunk in chain(*zip_longest(*parts)) if chunk is not None]


def add_to_record(path: Path, seed: int, counts: dict[str, Any]) -> None:
    """Write the counts of a seed into a record, beside those of other seeds; long work is done in parts."""
    from cipherlens.records import describe_environment, write_record

    old = json.loads(path.read_text()) if path.exists() else {"results": {"seeds": {}}, "environment": {}}
    earlier = {"commit": old["environment"].get("commit")}
    known = {number: earlier | found for number, found in old["results"]["seeds"].items()}
    counts = {"commit": describe_environment()["commit"]} | counts
    limits = {"growth_bytes": GROWTH, "growth_decoding_bytes": DECODING, "growth_times_file": 4}
    results = {"limits": limits, "seeds": known | {str(seed): counts}}
    write_record(path, "python -m tests.security.fuzz --cli 0 --record FILE --seed SEED", results)


def _tell(tally: Tally, total: int, started: float, stop: threading.Event) -> None:
    while not stop.wait(5):
        seconds = time.monotonic() - started
        print(
            f"{tally.inputs}/{total} inputs, {tally.failures} failures, {seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def _repeat(which: str, seed: int) -> int:
    """Try one input again in this process: what was done to it, what it gave, and where its files are."""
    from tests.security.fuzz.worker import Trier

    name, _, number = which.partition(":")
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-repeat-"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    trier = Trier(scratch)
    outcome, case, root = trier.try_one(trier.prepare(name), seed, int(number), keep=True)
    print(f"input: {case.note[:2000]!r}\nfacts: {case.facts}\nfiles: {root}")
    print(json.dumps(outcome.to_json(), indent=1))
    return 1 if outcome.failed else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="mutated inputs in process")
    parser.add_argument("--cli", type=int, default=1_000, help="mutated inputs through the command line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--record", type=Path, help="add the counts to this record, under the seed")
    parser.add_argument("--only", choices=sorted(TARGETS), help="this target alone")
    parser.add_argument(
        "--repeat", metavar="TARGET:NUMBER", help="try this input of the seed again, and keep its files"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.environ.update(make_environment())
    sys.exit(main(sys.argv[1:]))
