"""``cipherlens test``: measure a trained model. It needs torch, imported when the command runs."""

from pathlib import Path
from typing import Literal

from cipherlens.api.datasets import check_same_scheme
from cipherlens.cli.console import emit
from cipherlens.cli.options.keys import GivenKey
from cipherlens.cli.options.types import Flag, Json, SealedSet
from cipherlens.cli.runs import open_sealed


def test(
    run: Path,
    sealed: SealedSet,
    /,
    *,
    split: str = "test",
    weights: Literal["best", "last"] = "last",
    keys: GivenKey = GivenKey(),
    measure_wrong_key: Flag = False,
    as_json: Json = False,
) -> None:
    """Measure a trained model on a sealed data set. A locked model needs the key that it was locked with.

    Parameters
    ----------
    run
        Run folder made by train.
    sealed
        Folder made by encrypt, with the key the run was trained on.
    split
        The split whose images are classified.
    weights
        last is honest; best was chosen on the test images themselves.
    measure_wrong_key
        Measure even if the images were sealed with another key or cipher, and a locked model with another
        --key or with none.
    """
    from cipherlens.training.run.load import evaluate, open_run

    secret = keys.load()
    dataset = open_sealed(sealed, secret, check=not measure_wrong_key)
    owner = dataset.spec.key_fingerprint
    loaded, _ = open_run(run, weights, secret, not measure_wrong_key, owner)
    if not measure_wrong_key:
        check_same_scheme(loaded.provenance, dataset, "pass --measure-wrong-key to measure what that gives")
    result = evaluate(loaded, dataset.split(split))
    overlap = f", mean IoU {result['mean_iou']:.2%}" if "mean_iou" in result else ""
    line = f"accuracy {result['accuracy']:.2%}{overlap} on {result['n']} images of {sealed} ({split})"
    emit({"run": str(run), "sealed": str(sealed), "split": split, "weights": weights, **result}, as_json, [line])
