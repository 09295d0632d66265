"""Keys: 32 random bytes, key files, and the keystream from which all other key material is expanded."""

from cipherlens.keys.key import Key
from cipherlens.keys.stream import KeyStream

__all__ = ["Key", "KeyStream"]
