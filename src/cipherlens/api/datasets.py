"""Sealed data sets as functions take them: opened, or as folders."""

from typing import Any

from cipherlens.ciphers import BoundCipher
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.spec import NO_KEY
from cipherlens.data.sources.augmented import TRAIN
from cipherlens.data.storage.url import Place
from cipherlens.errors import KeyFailureError, UsageError
from cipherlens.keys import Key

Sealed = SealedDataset | str | Place


def open_dataset(sealed: Sealed, key: Key | None = None) -> SealedDataset:
    """The data set itself, or that of a folder or URL, authenticated where the key is given.

    Raises DataError for a folder that is none or damaged, KeyFailureError for another key.
    """
    if not isinstance(sealed, SealedDataset):
        return SealedDataset.open(sealed, key)
    return sealed if key is None else SealedDataset.open(sealed.root, key)


def choose_train_split(dataset: SealedDataset) -> str:
    """The split to learn from: train, if there is such a split, else the first."""
    return TRAIN if TRAIN in dataset.splits else next(iter(dataset.splits))


def check_same_scheme(trained: dict[str, Any], dataset: SealedDataset, hint: str) -> None:
    """Raise KeyFailureError unless the images were sealed as those that the run was trained (or locked) for."""
    given = dataset.spec.to_json()
    for name, word in (("cipher", "cipher"), ("params", "cipher with"), ("key_fingerprint", "key")):
        if name == "key_fingerprint" and trained.get(name) == NO_KEY:
            continue  # trained on photos that nobody sealed; plain ones are alike under any key
        if trained.get(name) != given[name]:
            raise KeyFailureError(
                f"the run is for images sealed with {word} {trained.get(name)}, these were with {given[name]}",
                hint=hint,
            )


def bind_lock(dataset: SealedDataset, key: Key) -> BoundCipher:
    """The cipher that a model is locked to. Raises UsageError unless the images are permuted pixels."""
    if dataset.spec.cipher != "pixel-permutation":
        raise UsageError(
            f"a model is locked to pixel-permutation images, these are {dataset.spec.cipher}",
            hint="train without the key, or seal them with pixel-permutation",
        )
    return dataset.spec.bind(key)
