"""The accuracy part of an audit: what a run folder's model names right."""

from pathlib import Path
from typing import Any

from cipherlens.data.run_files import read_run_files
from cipherlens.errors import DataError


def read_accuracy(run: Path) -> dict[str, Any]:
    """The test accuracy of a run folder after its last epoch, with its settings."""
    files = read_run_files(run)
    try:
        config, data, last = files.config, files.data, files.epochs[-1]
        cipher, adapted = str(files.provenance["cipher"]), config["adapt_block"] is not None
        classes, accuracy = len(data["classes"]), last["test_accuracy"]
        if not classes or not (accuracy is None or isinstance(accuracy, int | float)):
            raise ValueError("its figures are none")
        model, images = str(config["model"]), int(data["test_images"])
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise DataError(f"{run} is not a finished run: {error}", hint="give run folders made by train") from None
    name = "plain images" if cipher == "identity" else f"{cipher} images"
    front = ", read first" if files.can_decrypt else ", adaptation network" if adapted else ""
    return {
        "name": f"{name}{front}",
        "cipher": cipher,
        "model": model,
        "adaptation": adapted,
        "read_first": files.can_decrypt,
        "accuracy": accuracy,
        "n": images,
        "chance": 1 / classes,
        "epochs": len(files.epochs),
    }
