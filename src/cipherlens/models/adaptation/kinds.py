"""Adaptation networks by name."""

LEARNED = ("le", "ele", "pe")
"""Those of published schemes, behind which the backbone has other input channels."""
MAP_HOLDERS = ("er", "positions")
"""Those that can hold a map which an attack found."""
ADAPTATIONS = ("er", *LEARNED, "positions", "whitened")
