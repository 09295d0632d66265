"""Keys: 32 random bytes, their files, and the keystream everything else is expanded from."""

from cipherlens.keys.key import Key
from cipherlens.keys.stream import KeyStream

__all__ = ["Key", "KeyStream"]
