"""Training on a CPU that keeps the memory it frees.

    python benchmarks/measure/page_faults.py --out results/page-faults.json

Each network trains in child processes of its own, as glibc does it and with ``disable_malloc_trim``, in turns. The
figures are medians over the turns; the share is that of the time spent in the kernel.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

import cipherlens as cl
from cipherlens.memory import disable_malloc_trim
from cipherlens.records import write_record

CASES = (  # network, side, batch, steps, bf16
    ("preresnet20", 32, 128, 20, True),
    ("resnet18", 32, 128, 10, True),
    ("resnet50", 224, 32, 3, True),
    ("tf_efficientnet_lite0", 224, 32, 4, False),
)


def train(case: int, keep: bool, threads: int) -> dict[str, float]:
    name, side, batch, steps, bf16 = CASES[case]
    torch.set_num_threads(threads)
    if keep:
        disable_malloc_trim()
    model = cl.create_model(name, 10).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images)
        cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    for _ in range(2):
        step()
    started, before = time.perf_counter(), os.times()
    for _ in range(steps):
        step()
    seconds, after = time.perf_counter() - started, os.times()
    kernel, user = after.system - before.system, after.user - before.user
    return {"images_per_second": steps * batch / seconds, "kernel_share": kernel / (kernel + user)}


def run_child(case: int, keep: bool, threads: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", str(case), str(int(keep)), str(threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        case, keep, threads = options.child
        print(json.dumps(train(case, bool(keep), threads)))
        return
    rows = []
    for number, (name, side, batch, _, bf16) in enumerate(CASES):
        found = [[run_child(number, keep, options.threads) for keep in (False, True)] for _ in range(options.turns)]
        speeds = [statistics.median(turn[keep]["images_per_second"] for turn in found) for keep in (0, 1)]
        shares = [statistics.median(turn[keep]["kernel_share"] for turn in found) for keep in (0, 1)]
        row = {"model": name, "side": side, "batch": batch, "precision": "bf16" if bf16 else "float32"}
        row |= {"images_per_second": speeds, "kernel_share": shares, "ratio": speeds[1] / speeds[0]}
        rows.append(row)
        print(row, flush=True)
    if options.out:
        results = {"turns": options.turns, "threads": options.threads, "rows": rows}
        write_record(options.out, "python benchmarks/measure/page_faults.py", results)


if __name__ == "__main__":
    main()
