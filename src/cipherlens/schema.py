"""Check untrusted values against the types of a dataclass before they are used."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar

import msgspec

from cipherlens.errors import CipherlensError

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
MAX_SIDE = 65_536
"""Largest side of an image, and most images of a shard. A limit on memory."""
Side = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE)]
ImageShape = tuple[Side, Side, Side]
"""(channels, height, width)."""
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


def parse(values: Any, kind: type[T]) -> T:
    """A dataclass from a mapping of its fields; lists become tuples where the field is one.

    Raises ValueError, naming the field, where a field is missing, unknown, of another type or out of range.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"a {type(values).__name__} where fields were expected")
    unknown = sorted(set(map(str, values)) - {field.name for field in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown[:5])}")
    try:
        return msgspec.convert(values, kind)
    except (msgspec.ValidationError, CipherlensError, RecursionError) as error:
        raise ValueError(str(error)) from None
