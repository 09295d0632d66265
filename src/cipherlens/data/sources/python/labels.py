"""Labels and class names of data sets of Python, also of parts of such."""

import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.errors import CipherlensError, DataError


def to_label(value: Any, name: str) -> int:
    """A label as a whole number. Raises DataError for another value."""
    try:
        label = operator.index(value.item() if hasattr(value, "item") and not getattr(value, "ndim", 0) else value)
    except TypeError:
        label = None
    if label is None or abs(label) > 2**31:
        found = type(value).__name__ if label is None else "too large a number"
        raise DataError(
            f"the label of {name} is of type {found}, not a whole number",
            hint="labels count from 0, one for each class name",
        )
    return label


def list_labels(part: Any, count: int) -> list[int] | None:
    """The labels that a data set lists, so that its images need not be read; None where it lists none."""
    inner, indices = getattr(part, "dataset", None), getattr(part, "indices", None)
    if inner is not None and indices is not None:  # torch.utils.data.Subset
        found = list_labels(inner, len(inner))
        return None if found is None else [found[int(index)] for index in indices]
    if getattr(part, "target_transform", None) is not None:
        return None
    for name in ("targets", "labels"):
        listed = getattr(part, name, None)
        with suppress(TypeError, ValueError, CipherlensError):
            if listed is not None and len(listed) == count:
                return [to_label(label, name) for label in listed]
    return None


def find_classes(part: Any) -> tuple[str, ...]:
    """The class names of a data set, of the one that it is a part of, or of all that it joins; empty for none."""
    named = getattr(part, "classes", None)
    if isinstance(named, list | tuple) and named:
        return tuple(", ".join(map(str, name)) if isinstance(name, tuple) else name for name in named)
    if hasattr(part, "dataset"):
        return find_classes(part.dataset)
    joined = {find_classes(inner) for inner in getattr(part, "datasets", ())}
    return joined.pop() if len(joined) == 1 else ()


def unite(named: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """The classes of all splits, and for each split the numbers of its own among them.

    Splits that name the same classes keep their numbers. Raises DataError where only some splits name any.
    """
    different = set(named.values())
    if len(different) <= 1:
        return tuple(next(iter(different), ())), {}
    if () in different:
        bare = next(split for split, names in named.items() if not names)
        raise DataError(f"{bare} does not name its classes, other splits do", hint="give classes=[...]")
    every = tuple(sorted({name for names in named.values() for name in names}))
    place = {name: number for number, name in enumerate(every)}
    return every, {split: np.array([place[name] for name in names], np.int64) for split, names in named.items()}
