"""The command adapt: one more key for a trained model, without training."""

from pathlib import Path
from typing import Any

from cipherlens.cli.console import emit
from cipherlens.cli.options.training import FrontEnd
from cipherlens.cli.options.types import Json, SealedSet, Whole
from cipherlens.cli.runs import open_sealed


def adapt(
    run: str,
    sealed: SealedSet,
    /,
    *,
    out: Path,
    public: str | None = None,
    front_end: FrontEnd = None,
    weights: Path | None = None,
    split: str | None = None,
    seed: Whole = 0,
    as_json: Json = False,
) -> None:
    """Let a trained model answer on images under one more key: a front end is put before it, nothing is trained.

    The front end is the map that an attack finds from the ciphertexts. Whoever has the new run can decrypt.

    Parameters
    ----------
    run
        Run folder, trained on plain images or from a map; or the name of a timm model with pretrained weights.
    sealed
        Folder made by encrypt, with the run's classes; for a timm model, named like ImageNet's.
    out
        New run folder.
    public
        A source of photos like the encrypted ones, so that the attack knows such photos.
    front_end
        A map from attack --save-map or from invert, instead of finding one.
    weights
        For a timm model: its weights in a local .safetensors or .pth file, instead of timm's hub.
    split
        Ciphertexts to look at; train, if there is such a split.
    seed
        Decides the attack's random numbers.
    """
    from cipherlens.api.adapting import adapt as adapt_run

    dataset = open_sealed(sealed, None)
    given: dict[str, Any] = {"public": public, "front_end": front_end, "weights": weights, "split": split}
    record = adapt_run(run, dataset, out=out, seed=seed, **given)
    keys = [one.provenance["key_fingerprint"] for one in record.owners] or [dataset.spec.key_fingerprint]
    emit(
        {"out": str(out), "model": record.config.model, "cipher": dataset.spec.cipher, "keys": keys},
        as_json,
        [f"{out}: {record.config.model} behind a front end for {dataset.spec.cipher}, keys {', '.join(keys)}"],
    )
