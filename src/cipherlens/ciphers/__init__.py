"""Every cipher behind one interface: ``create_cipher(name, **params).bind(key, shape)``."""

from importlib import import_module
from pkgutil import iter_modules

from cipherlens.ciphers import schemes, value_inverses
from cipherlens.ciphers.base import BoundCipher, Cipher
from cipherlens.ciphers.registry import CIPHERS, create_cipher, list_ciphers, register_cipher
from cipherlens.ciphers.structure import KeyStructure

# Each file in schemes/ registers its ciphers: there is no other list of them.
for _module in iter_modules(schemes.__path__):
    import_module(f"{schemes.__name__}.{_module.name}")

__all__ = [
    "CIPHERS",
    "BoundCipher",
    "Cipher",
    "KeyStructure",
    "create_cipher",
    "list_ciphers",
    "register_cipher",
    "value_inverses",
]
