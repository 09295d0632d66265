"""What a provider learns without the key, from results/cifar10-accuracy.json."""

from record_tables import hardware, load, table


def accuracy() -> str:
    record = load("cifar10-accuracy.json")
    if record is None:
        return ""
    rows = [
        [r["name"], r["model"], str(r["epochs"]), f"{r['accuracy']:.2%}", str(r["n"])]
        for r in record["results"]["runs"]
    ]
    header = ["images", "network", "epochs", "test accuracy, last epoch", "test images"]
    return (
        "## What a provider learns without the key (CIFAR-10, JPEG)\n\n"
        f"{table(header, rows)}\n\n{record['results']['note']}\n\n{hardware(record)}\n"
    )
