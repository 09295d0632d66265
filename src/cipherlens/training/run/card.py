"""MODEL_CARD.md: description and figures of a trained model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cipherlens.escaping import escape_markdown
from cipherlens.files import write_atomic
from cipherlens.holders import choose_holder
from cipherlens.training.engine.metrics import EpochMetrics
from cipherlens.training.engine.rounds import get_best
from cipherlens.training.run.architecture import PREFIX, describe_kind
from cipherlens.training.run.record import RunRecord

WARNING = """\
Keyed image transforms are visual obfuscation, not encryption in the cryptographic sense: such images keep
statistics that let a model learn, and an attacker can use them too. What the images give away has to be
measured (`cipherlens audit`). """
NO_KEY = "The key is not part of this folder; the weights may still reveal it in part."
HAS_KEY = """\
**This run can decrypt: its adaptation network started from a map that reads the images. Like the map beside them,
its weights decrypt the images, so treat the whole folder like the key.**"""

TRAINED = (
    "One run with one seed. The best epoch is chosen on the test set itself, so its accuracy is optimistic; "
    "the last epoch's is not. Training accuracy is taken while the weights move."
)
UNTRAINED = "Nothing was trained: these are published weights behind a front end."


def write_card(path: Path, record: RunRecord, history: Sequence[EpochMetrics], hardware: str) -> None:
    """Write the model card of a finished run; ``hardware`` is that of the last training session."""
    config, data = record.config, record.data
    adapted = "none" if config.adapt_block is None else f"blocks of {config.adapt_block}x{config.adapt_block}"
    if config.adaptation == "positions":
        adapted = "pixels put back in place"
    if record.owners:
        adapted = f"one for each of {len(record.owners)} keys"
    results: dict[str, Any] = {}
    if history:
        results["last epoch (last.safetensors)"] = _describe(history[-1])
    if data.test_images and history:
        results["best test epoch (best.safetensors)"] = _describe(get_best(history))
    settings = {**config.to_json(), "lr": config.peak_lr}
    parts = [
        _write_metadata(record),
        "# " + escape_markdown(f"{config.model} on {record.provenance.get('cipher', 'unnamed')} images"),
        _tabulate(
            {
                "who may hold it": choose_holder(config.can_decrypt),
                "model": config.model,
                "adaptation network": adapted,
                "locked": config.lock or "no",
                "input (C, H, W)": f"{data.shape}, {data.dtype}",
                "normalisation": f"mean {_shorten(record.normalization.mean)}, "
                f"std {_shorten(record.normalization.std)}",
                "classes": f"{len(data.classes)}: {', '.join(data.classes)}",
                "images": f"{data.train_images} training, {data.test_images} test",
                "hardware": hardware,
                "training time": f"{sum(metrics.seconds for metrics in history):.0f} s",
            }
        ),
        "## Accuracy",
        f"{_tabulate(results)}\n\n{TRAINED}" if results else UNTRAINED,
        "## Data",
        *([_tabulate(owner.provenance) for owner in record.owners] or [_describe_data(record)]),
        "## Settings",
        _tabulate(settings),
        "## What this is not",
        WARNING + (HAS_KEY if config.can_decrypt else NO_KEY),
    ]
    write_atomic(path, ("\n\n".join(parts) + "\n").encode())


def _write_metadata(record: RunRecord) -> str:
    """The first lines of a card, which the Hugging Face hub reads."""
    config = record.config
    library = "timm" if not describe_kind(config, len(record.owners)).startswith(PREFIX) else "cipherlens"
    task = "image-segmentation" if record.data.masked else "image-classification"
    return f"---\nlibrary_name: {library}\npipeline_tag: {task}\ntags:\n- cipherlens\n- {task}\n---"


def _describe_data(record: RunRecord) -> str:
    return _tabulate(record.provenance) if record.provenance else "Provenance was not recorded."


def _describe(metrics: EpochMetrics) -> str:
    where = f"round {metrics.round}, epoch {metrics.epoch}"
    trained = f"training {metrics.train_accuracy:.2%} (loss {metrics.train_loss:.4f})"
    if metrics.test_accuracy is None:
        return f"{where}: {trained}, not tested"
    overlap = "" if metrics.test_iou is None else f"mean IoU {metrics.test_iou:.2%}, "
    return f"{where}: test {overlap}{metrics.test_accuracy:.2%} (loss {metrics.test_loss:.4f}), {trained}"


def _shorten(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _tabulate(rows: Mapping[str, Any]) -> str:
    lines = [f"| {escape_markdown(str(name))} | {escape_markdown(str(value))} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])
