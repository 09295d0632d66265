"""The ciphertext-only attack on Hill ciphers, several keys, with the stream control.

    python benchmarks/covariance_leakage.py SOURCE --block 4 --images 1000 --out results/covariance-NAME.json

Attacked are test images; the prior comes from training images.
"""

import argparse
import statistics
from pathlib import Path

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.harness import Target, evaluate
from cipherlens.audit.records import write_record
from cipherlens.ciphers import create_cipher
from cipherlens.data.sources import Source, open_source, pick_evenly
from cipherlens.keys import Key


def read(source: Source, split: str, count: int):
    import numpy as np

    indices = pick_evenly(source.splits[split], count).tolist()
    return np.stack([item.decode() for item in source.read(split, indices)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--block", type=int, required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--prior", type=int, default=2000, help="public images; 0: the parametric prior")
    parser.add_argument("--keys", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    source = open_source(options.source)
    plain = read(source, "test", options.images)
    public = read(source, "train", options.prior) if options.prior else None
    hill = create_cipher("hill", block=options.block)
    attack = ATTACKS["covariance"]
    rows = []
    for number in range(options.keys):
        ct = hill.bind(Key.generate(), plain.shape[1:]).encrypt(plain)
        rows.append(
            summarize(evaluate(attack, Target("hill", hill.params, plain, ct, public, ""), len(plain), number))
        )
        print(rows[-1])
    ct = create_cipher("stream").bind(Key.generate(), plain.shape[1:]).encrypt(plain)
    control = summarize(evaluate(attack, Target("hill", hill.params, plain, ct, public, ""), len(plain)))
    results = {
        "source": Path(options.source).name,
        "block": options.block,
        "ciphertexts": options.images,
        "prior": f"{options.prior} training images" if options.prior else "parametric, no images",
        "keys": options.keys,
        "ssim": statistics.mean(row["ssim"] for row in rows),
        "ssim_min": min(row["ssim"] for row in rows),
        "ssim_max": max(row["ssim"] for row in rows),
        "psnr": statistics.mean(row["psnr"] for row in rows),
        "seconds": statistics.mean(row["seconds"] for row in rows),
        "guess_ssim": rows[0]["guess_ssim"],
        "stream_control_ssim": control["ssim"],
        "stream_control_beats_guessing": control["ssim"] > control["guess_ssim"],
        "per_key": rows,
    }
    command = (
        f"python benchmarks/covariance_leakage.py {results['source']} --block {options.block} "
        f"--images {options.images} --prior {options.prior} --keys {options.keys}"
    )
    write_record(options.out, command, results)
    print({name: value for name, value in results.items() if name != "per_key"})


def summarize(evaluation) -> dict[str, float]:
    names = ("ssim", "psnr", "exact_pixels", "guess_ssim", "seconds", "n")
    return {name: getattr(evaluation, name) for name in names}


if __name__ == "__main__":
    main()
