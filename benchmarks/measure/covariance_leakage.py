"""The ciphertext-only attack on block-linear ciphers, several keys, with the stream control.

    python benchmarks/measure/covariance_leakage.py SOURCE --block 4 --images 1000 \\
        --out results/covariance-NAME.json

Attacked are test images; the prior comes from training images, of this source or another. With --alone every image
is attacked by itself, under one key after the other.
"""

import argparse
import statistics
from pathlib import Path

from cipherlens.attacks.covariance.attack import CovarianceAttack
from cipherlens.ciphers import create_cipher
from cipherlens.data.sources.base import Source, pick_evenly
from cipherlens.data.sources.registry import open_source
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key
from cipherlens.records import write_record


def read(source: Source, split: str, count: int):
    import numpy as np

    indices = pick_evenly(source.splits[split], count).tolist()
    return np.stack([item.decode() for item in source.read(split, indices)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--block", type=int, required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument(
        "--prior", type=int, default=2000, help="public images; 0: none, and no measured prior of the source"
    )
    parser.add_argument("--prior-source", help="where they come from, if not from the source itself")
    parser.add_argument("--cipher", default="hill")
    parser.add_argument("--orthogonal", action="store_true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--keys", type=int, default=3)
    parser.add_argument("--starts", type=int, default=1, help="starts of the search, as audits do with photos")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    source = open_source(options.source)
    plain = read(source, "test", options.images)
    public_source = open_source(options.prior_source) if options.prior_source else source
    public = read(public_source, "train", options.prior) if options.prior else None
    cipher = create_cipher(
        options.cipher, block=options.block, **({"orthogonal": True} if options.orthogonal else {})
    )
    rows = []
    for number in range(options.keys):
        ct = cipher.bind(Key.generate(), plain.shape[1:]).encrypt(plain)
        rows.append(attack(cipher, plain, ct, public, number, options))
        print(rows[-1], flush=True)
    ct = create_cipher("stream").bind(Key.generate(), plain.shape[1:]).encrypt(plain)
    control = attack(cipher, plain, ct, public, 0, options)
    origin = f" of {Path(options.prior_source).name}" if options.prior_source else ""
    results = {
        "source": Path(options.source).name,
        "cipher": options.cipher + (", orthogonal" if options.orthogonal else ""),
        "block": options.block,
        "ciphertexts": 1 if options.alone else options.images,
        "images": options.images,
        "prior": f"{options.prior} training images{origin}" if options.prior else "no images",
        "keys": options.keys,
        "starts": options.starts,
        "ssim": statistics.mean(row["ssim"] for row in rows),
        "ssim_min": min(row["ssim"] for row in rows),
        "ssim_max": max(row["ssim"] for row in rows),
        "psnr": statistics.mean(row["psnr"] for row in rows),
        "exact_pixels": statistics.mean(row["exact_pixels"] for row in rows),
        "seconds": statistics.mean(row["seconds"] for row in rows),
        "guess_ssim": rows[0]["guess_ssim"],
        "stream_control_ssim": control["ssim"],
        "stream_control_beats_guessing": control["ssim"] > control["guess_ssim"],
        "per_key": rows,
    }
    command = (
        f"python benchmarks/measure/covariance_leakage.py {results['source']} --block {options.block} "
        f"--images {options.images} --prior {options.prior} --keys {options.keys}"
        + (f" --cipher {options.cipher}" if options.cipher != "hill" else "")
        + (" --orthogonal" if options.orthogonal else "")
        + (f" --prior-source {Path(options.prior_source).name}" if options.prior_source else "")
        + (" --alone" if options.alone else "")
        + (f" --starts {options.starts}" if options.starts > 1 else "")
    )
    write_record(options.out, command, results)
    print({name: value for name, value in results.items() if name != "per_key"})


def attack(cipher, plain, ct, public, seed: int, options: argparse.Namespace) -> dict[str, float | str]:
    """Scores of one run on all images, or the mean over runs on each image alone."""
    groups = [slice(number, number + 1) for number in range(len(plain))] if options.alone else [slice(None)]
    blind = CovarianceAttack().leave_out(options.source)
    found = [
        evaluate(
            blind,
            Target(cipher, plain[group], ct[group], public, ""),
            len(plain[group]),
            seed,
            starts=options.starts,
        )
        for group in groups
    ]
    names = ("ssim", "psnr", "exact_pixels", "guess_ssim", "seconds")
    rows = [one.to_json() for one in found]
    believed = ", ".join(sorted({row["details"]["prior"] for row in rows}))
    return {name: statistics.mean(row[name] for row in rows) for name in names} | {
        "n": len(plain),
        "believed": believed,
    }


if __name__ == "__main__":
    main()
