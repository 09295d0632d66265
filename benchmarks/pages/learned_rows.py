"""What one learned attack reads, from results/learned-attacks.json."""

from record_tables import load, table

from cipherlens.experiments.settings import name_cipher


def of_learned(name: str) -> str:
    record = load("learned-attacks.json")
    if record is None:
        return ""
    results = record["results"]
    rows = [
        [
            f"`{name_cipher(row['scheme'])}`",
            f"**{row['ssim']:.3f}**" if row["beats_guessing"] else f"{row['ssim']:.3f}",
            f"{row['guess_ssim']:.2f}",
            f"{row['reidentified']:.1%}",
            f"{row['exact_pixels']:.1%}",
            f"{row['seconds']:.0f}",
        ]
        for row in results["rows"]
        if row["attack"] == name and row["run"] == 0
    ]
    if not rows:
        return ""
    header = ["cipher", "SSIM", "guessing", "found again among 200", "exact values", "seconds to train"]
    return (
        f"Images of CIFAR-10, one key, one training, {results['seen']:,} ciphertexts or known pairs, "
        f"{results['public']:,} public training images. In bold what beats guessing.\n\n{table(header, rows)}\n"
    )
