"""Sealed data sets of several owners, joined for one training."""

from collections.abc import Sequence

from cipherlens.api.front_end import choose_network
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.errors import DataError, UsageError
from cipherlens.training.engine.normalization import create_normalization
from cipherlens.training.engine.owners import JointSet, Owner


def create_owner(dataset: SealedDataset, split: str, kind: str) -> Owner:
    """An owner's record, with the normalisation ``kind`` measured on a split."""
    adaptation, block = choose_network(dataset.spec)
    normalization = create_normalization(kind, dataset.split(split))
    return Owner(dataset.spec.to_json(), dataset.split(split).dtype, normalization, block, adaptation)


def join(
    datasets: Sequence[SealedDataset], split: str, kind: str
) -> tuple[JointSet, JointSet | None, tuple[Owner, ...]]:
    """Training set, test set (None where a data set has none) and owners; each data set has its own key.

    Raises UsageError where two have the same key, DataError or ShapeError where images or classes differ.
    """
    keys = [dataset.spec.key_fingerprint for dataset in datasets]
    if len(set(keys)) < len(keys):
        raise UsageError("two of the data sets have the same key", hint="seal their images into one data set")
    if any(split not in dataset.splits for dataset in datasets):
        raise DataError(f"not all of the data sets have a split {split}", hint="encrypt them alike")
    owners = tuple(create_owner(dataset, split, kind) for dataset in datasets)
    normalizations = [owner.normalization for owner in owners]
    train_set = JointSet([dataset.split(split) for dataset in datasets], normalizations)
    tested = split != "test" and all("test" in dataset.splits for dataset in datasets)
    test_sets = [dataset.split("test") for dataset in datasets] if tested else []
    return train_set, JointSet(test_sets, normalizations) if tested else None, owners
