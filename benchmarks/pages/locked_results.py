"""Parts of docs/questions/ on locked models."""

from typing import Any

from record_tables import hardware, load, table


def show_figure(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return ""
    spread = f" ({figure['min']:.2%} to {figure['max']:.2%}, {figure['runs']} keys)" if figure["runs"] > 1 else ""
    return f"{figure['mean']:.2%}{spread}"


def experiment(name: str, title: str) -> str:
    record = load(f"{name}-cpu.json")
    if record is None:
        return ""
    results = record["results"]
    models = results["models"]
    names = list(dict.fromkeys(row for measured in models.values() for row in measured["rows"]))
    published = results["published"]
    header = [results["metric"], *(f"{model}, {m['epochs']} epochs" for model, m in models.items())]
    rows = [[name, *(show_figure(m["rows"].get(name)) for m in models.values())] for name in names]
    if published:
        header.append("*published*")
        for row in rows:
            row.append(f"*{published[row[0]]} %*" if row[0] in published else "")
    equal = "; ".join(
        f"{model}: {m['equality']['same']:,} of {m['equality']['of']:,}, largest logit error "
        f"{m['equality']['relative_error']:.0e}"
        for model, m in models.items()
    )
    tuned = [f"{model} {m['finetune_epochs']}" for model, m in models.items() if m["finetune_epochs"]]
    fine = f" Epochs of fine-tuning: {', '.join(tuned)}." if tuned else ""
    return (
        f"### {title}\n\n{table(header, rows)}\n\n{results['source']}, {results['test_images']:,} test images, "
        f"weights after the last epoch, one training seed; variants of each training image: {results['augment']}."
        f"{fine} "
        f"Decisions with the key equal to the plain model's, in float32: {equal}.\n\n{hardware(record)}\n"
    )


def pretrained() -> str:
    record = load("locked-pretrained.json")
    if record is None:
        return ""
    r = record["results"]
    rows = [
        [
            row["name"],
            f"{row['accuracy']:.2%}",
            f"{row['same_decision']:,} of {r['n']:,}",
            f"{row['relative_error']:.0e}",
        ]
        for row in r["rows"]
    ]
    header = ["EfficientNet-Lite0, ImageNet weights", "1,000-way top-1", "same as the plain network", "logit error"]
    return (
        f"### A pretrained network at 224x224\n\n{table(header, rows)}\n\nimagenette-224, {r['n']:,} test photos, "
        f"float32.\n\n{hardware(record)}\n"
    )


def equality() -> str:
    record = load("locked-equality.json")
    if record is None:
        return ""
    rows = [
        [
            f"{r['model']} ({r['side']}x{r['side']})",
            f"{r['relative_error']:.0e}",
            f"{r['decisions'] - r['different']:,} of {r['decisions']:,}",
            str(r["different_not_tied"]),
            f"{r['gradient_error']:.0e}",
            f"{r['lock_seconds']:.2f}",
        ]
        for r in record["results"]["rows"]
    ]
    header = [
        *("model", "logit error", "same decision (images, or pixels)", "different, and no tie"),
        *("gradient error", "seconds to lock"),
    ]
    images = record["results"]["rows"][0]["images"]
    return (
        f'### Every model of the list\n\nPlain against locked (`inner="shuffled"`), random weights, {images} '
        "generated images, relative errors; logits in float32, gradients of one step in float64. A random "
        "network calls most images the same, so the mean logits are taken away before deciding; a tie is a decision"
        " whose two best logits are closer than twice the largest difference.\n\n"
        f"{table(header, rows)}\n\n{hardware(record)}\n"
    )


def speed() -> str:
    record = load("locked-speed.json")
    if record is None:
        return ""
    rows = [
        [
            f"{r['model']}, {r['side']}x{r['side']}, batch {r['batch']}, {r['precision']}",
            f"{r['seconds']['plain, channels last'] * 1e3:.0f} ms",
            *(
                f"{r['ratio'][name]:.2f}"
                for name in (
                    "plain",
                    "locked, inner plain",
                    "locked, inner shuffled",
                    "locked, inner shuffled, deform",
                )
            ),
            f"{r['lock_seconds']:.2f} s",
        ]
        for r in record["results"]["rows"]
    ]
    header = [
        "forward pass",
        "plain",
        "plain, other layout",
        "inner plain",
        "inner shuffled",
        "inner shuffled, deform",
        "locking",
    ]
    threads = record["results"]["rows"][0]["threads"]
    return (
        "### Time\n\nRatios to the plain model in its faster memory layout (channels last); medians of "
        f"{record['results']['rounds']} rounds in turn, {threads} threads.\n\n{table(header, rows)}\n\n"
        f"{hardware(record)}\n"
    )
