"""The part of docs/ on models in ONNX."""

from record_tables import hardware, load, table


def section() -> str:
    record = load("onnx-export.json")
    if record is None:
        return ""
    batches = [str(count) for count in (1, 3, 8)]
    rows = []
    for name, found in record["results"]["models"].items():
        errors = [f"{found['errors'][count]:.0e}" for count in batches]
        ratios = [f"{found['time_ratio'][count]:.2f}" for count in batches]
        rows.append([name, f"{found['kind']}, {found['cipher']}", ", ".join(errors), ", ".join(ratios)])
    header = ["network", "made for", "largest logit error", "time, PyTorch 1"]
    return (
        "## Locked and folded networks as ONNX files\n\n"
        "224x224, one file for any batch size, here of 1, 3 and 8 images, run by onnxruntime. Errors are relative "
        "to the largest logit; times are medians of alternating runs. Random weights, one seed.\n\n"
        f"{table(header, rows)}\n\n{hardware(record)}\n"
    )
