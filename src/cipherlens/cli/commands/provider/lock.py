"""``cipherlens lock``, ``fold`` and ``invert``: what a client with a key can make for a provider."""

import warnings
from pathlib import Path
from typing import Literal

from cipherlens.ciphers.estimated_inverse import Target
from cipherlens.cli.console import emit, say
from cipherlens.cli.options.keys import ClientKey
from cipherlens.cli.options.types import Json, SealedSet
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.errors import PrecisionWarning


def lock(
    run: Path,
    /,
    *,
    keys: ClientKey,
    out: Path,
    inner: Literal["shuffled", "plain"] = "shuffled",
    as_json: Json = False,
) -> None:
    """Lock a run trained on plain images: with the key it answers on permuted images as it did on plain ones.

    Nothing is trained. The new folder names the key's fingerprint and holds no key; whoever uses it needs the key,
    and whoever runs a locked model can read the key out of it.

    Parameters
    ----------
    run
        Run folder, trained on images sealed with --cipher identity (or locked with another key).
    out
        New run folder.
    inner
        Whether feature maps inside the model are shuffled too, or only the input.
    """
    from cipherlens.training.keyed_runs.lock import lock_run

    secret = keys.load()
    record = lock_run(run, out, secret, inner)
    say("note: whoever runs a locked model can read the key out of it")
    emit(
        {"out": str(out), "model": record.config.model, "inner": inner, "key_fingerprint": secret.fingerprint},
        as_json,
        [f"{out}: {record.config.model} locked to key {secret.fingerprint} ({inner} inside)"],
    )


def fold(
    run: Path,
    /,
    *,
    sealed: SealedSet,
    keys: ClientKey,
    out: Path,
    as_json: Json = False,
) -> None:
    """Fold the key into a run trained on plain images: its first layer then takes encrypted ones, at no cost.

    Nothing is trained. Works for networks whose first layer cuts patches (ViT, DeiT, ConvMixer, ConvNeXt, Swin,
    MLP-Mixer) and ciphers that do the same affine map to every block (hill, shf, np, patch, compositions of these).
    Whoever has both the folded run and the plain one can read the key out of them.

    Parameters
    ----------
    run
        Run folder, trained on images sealed with --cipher identity.
    sealed
        Data set sealed with the cipher and key to fold.
    out
        New run folder.
    """
    from cipherlens.training.keyed_runs.fold import fold_run

    secret = keys.load()
    dataset = SealedDataset.open(sealed, secret)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PrecisionWarning)
        record = fold_run(run, out, dataset, secret)
    for message in {str(warning.message) for warning in caught if warning.category is PrecisionWarning}:
        say(f"note: {message}")
    say("note: whoever has the folded run and the plain one can read the key out of them")
    emit(
        {
            "out": str(out),
            "model": record.config.model,
            "cipher": dataset.spec.cipher,
            "key_fingerprint": secret.fingerprint,
        },
        as_json,
        [f"{out}: {record.config.model} folded for {dataset.spec.cipher} images of key {secret.fingerprint}"],
    )


def invert(sealed: SealedSet, /, *, keys: ClientKey, out: Path, as_json: Json = False) -> None:
    """Write the inverse of a Hill key, from which an adaptation network can start: the upper bound of learning it.

    The file is like one that attack --save-map writes, without its errors. Whoever has it can decrypt.

    Parameters
    ----------
    sealed
        Data set sealed with hill.
    out
        File to write (.safetensors).
    """
    from cipherlens.ciphers.exact_inverse import invert as find_inverse

    secret = keys.load()
    spec = SealedDataset.open(sealed, secret).spec
    find_inverse(spec.bind(secret)).save(out, Target.of(spec.to_json()))
    say("note: whoever has this file can decrypt the data set")
    emit(
        {"out": str(out), "key_fingerprint": secret.fingerprint},
        as_json,
        [f"{out}: inverse of {secret.fingerprint}"],
    )
