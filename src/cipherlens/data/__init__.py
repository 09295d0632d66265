"""Sources of plain images, and sealed data sets: ``cl.data.from_python`` and ``cl.data.from_hf``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cipherlens.data.sources.python.hugging_face import from_hf
    from cipherlens.data.sources.python.map_style import from_python

_LAZY = {"from_hf": "hugging_face", "from_python": "map_style"}

__all__ = ["from_hf", "from_python"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'cipherlens.data' has no attribute {name!r}")
    return getattr(import_module(f"cipherlens.data.sources.python.{_LAZY[name]}"), name)
