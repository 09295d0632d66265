"""Slow weights that follow those of the optimizer (Zhang et al., Lookahead, 2019), ever slower (Jordan 2024)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

EVERY = 5
"""Steps between two meetings of slow and fast weights (airbench94's)."""
KEEP = 0.95**EVERY
"""What the slow weights keep of themselves at the last meeting (airbench94's)."""


class Lookahead:
    """The slow weights and statistics of a model, by name in its state."""

    def __init__(self, model: nn.Module, slow: Mapping[str, Tensor] | None = None) -> None:
        """``slow`` are those of an interrupted training; without, the model's own."""
        self._fast = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
        found = self._fast if slow is None else slow
        # As strided as the fast weights, so that a continued training computes in the same order.
        self.slow = {name: torch.empty_like(value).copy_(found[name]) for name, value in self._fast.items()}

    def update(self, step: int, steps: int) -> None:
        """Let both meet after step ``step`` (from 1) of ``steps``, if due; at last the slow ones remain."""
        if step % EVERY and step != steps:
            return
        keep = 1.0 if step == steps else KEEP * (step / steps) ** 3
        with torch.no_grad():
            for name, slow in self.slow.items():
                self._fast[name].copy_(slow.lerp_(self._fast[name], 1 - keep))
