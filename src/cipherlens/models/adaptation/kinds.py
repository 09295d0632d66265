"""Adaptation networks by name."""

LEARNED = ("le", "ele", "pe")
"""Those of published schemes; they give the backbone another number of input channels."""
MAP_HOLDERS = ("er", "positions")
"""Those that can hold a map found by an attack."""
ADAPTATIONS = ("er", *LEARNED, "positions", "whitened")
