"""Hill encryption of 224x224 images in 8x8 blocks against the CAS771 report's own loop, on one core and on two.

    python benchmarks/measure/hill_throughput.py [--images 32] [--repeats 5] [--out results/hill-throughput.json]

The loop is written from the report's definition (section 1): for every image, channel and block, flatten, one
vector-matrix product, put back. "Two cores": our code with two matrix threads; the loop in two processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

BLOCK, SIZE = 8, 224
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def encrypt_in_a_loop(images, matrices):
    """The report's per-block loop, float64 as NumPy does it by default."""
    import numpy as np

    out = np.zeros(images.shape)
    for image, target in zip(images, out, strict=True):
        for channel in range(images.shape[1]):
            for top in range(0, SIZE, BLOCK):
                for left in range(0, SIZE, BLOCK):
                    block = image[channel, top : top + BLOCK, left : left + BLOCK] / 255
                    row = block.flatten() @ matrices[channel]
                    target[channel, top : top + BLOCK, left : left + BLOCK] = row.reshape(BLOCK, BLOCK)
    return out.astype(np.float32)


def measure(count: int, repeats: int, cores: int) -> dict[str, float]:
    """Seconds per image of both, medians of alternating repeats, and their ratio."""
    import numpy as np

    from cipherlens.ciphers import create_cipher
    from cipherlens.keys import Key

    images = np.random.default_rng(0).integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8)
    bound = create_cipher("hill", block=BLOCK).bind(Key.generate(), (3, SIZE, SIZE))
    expected = encrypt_in_a_loop(images[:2], bound.matrices)
    assert np.allclose(bound.encrypt(images[:2]), expected, atol=1e-4)
    ours, loop = [], []
    with get_context("spawn").Pool(cores) as pool:
        parts = np.array_split(images, cores)
        pool.starmap(encrypt_in_a_loop, [(part[:1], bound.matrices) for part in parts])
        for _ in range(repeats):
            started = time.perf_counter()
            pool.starmap(encrypt_in_a_loop, [(part, bound.matrices) for part in parts])
            loop.append((time.perf_counter() - started) / count)
            started = time.perf_counter()
            bound.encrypt(images)
            ours.append((time.perf_counter() - started) / count)
    fast, slow = statistics.median(ours), statistics.median(loop)
    return {
        "cores": cores,
        "loop_images_per_second": 1 / slow,
        "images_per_second": 1 / fast,
        "times_the_loop": slow / fast,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cores", type=int)
    parser.add_argument("--out", type=Path, default=Path("results/hill-throughput.json"))
    options = parser.parse_args()
    if options.cores:
        print(json.dumps(measure(options.images, options.repeats, options.cores)))
        return
    rows = []
    for cores in (1, 2):  # thread counts are fixed when NumPy is loaded, hence a process each
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(cores))
        command = [sys.executable, __file__, "--cores", str(cores)]
        command += ["--images", str(options.images), "--repeats", str(options.repeats)]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
    from cipherlens.records import write_record

    sizes = {"images": options.images, "size": SIZE, "block": BLOCK, "repeats": options.repeats}
    write_record(options.out, "python benchmarks/measure/hill_throughput.py", {**sizes, "rows": rows})
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
