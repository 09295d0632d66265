"""Layouts: the orders in which tensors are stored. They are propagated through a model's graph."""

from collections.abc import Sequence
from dataclasses import dataclass

from cipherlens.ciphers.structure import Order

Pair = tuple[int, int]


class Space:
    """Feature maps of one size (H, W) that are stored under one order, because they are added or joined."""

    def __init__(self, size: Pair, order: Order | None = None) -> None:
        self.size = size
        self._order = order
        self._parent: Space | None = None

    @property
    def root(self) -> "Space":
        """The representative of all joined spaces."""
        space = self
        while space._parent is not None:
            space = space._parent
        return space

    @property
    def order(self) -> Order | None:
        """The common order of the joined spaces; None before it is set."""
        return self.root._order

    @order.setter
    def order(self, order: Order) -> None:
        self.root._order = order

    def join(self, other: "Space") -> None:
        """Join both spaces. Their sizes must be the same, and so must orders that were set before."""
        mine, theirs = self.root, other.root
        if mine is theirs:
            return
        keeper, joined = (mine, theirs) if theirs._order is None else (theirs, mine)
        joined._parent = keeper


@dataclass(frozen=True)
class Layout:
    """How a tensor is stored: its space and the axes of height and width.

    ``axes`` is (2, 3) or (1, 2); () is a flattened map (N, C * H * W) with ``channels`` = C.
    """

    space: Space
    axes: tuple[int, ...]
    channels: int = 0

    def covers(self, dims: Sequence[int]) -> bool:
        """Whether ``dims`` contain both axes."""
        return bool(self.axes) and set(self.axes) <= set(dims)

    def avoids(self, dims: Sequence[int]) -> bool:
        """Whether ``dims`` contain neither axis."""
        return bool(self.axes) and not set(self.axes) & set(dims)
