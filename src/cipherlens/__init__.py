"""cipherlens: vision models on images encrypted with keyed transforms, and attacks that measure their leakage.

>>> import numpy as np
>>> import cipherlens as cl
>>> plain = np.zeros((1, 3, 32, 32), dtype=np.uint8)
>>> bound = cl.create_cipher("hill", block=4).bind(cl.Key.generate(), shape=(3, 32, 32))
>>> bool((bound.decrypt(bound.encrypt(plain)) == plain).all())
True

Keyed image transforms are obfuscation and access control, not encryption: see docs/threat-model.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cipherlens.ciphers import create_cipher, register_cipher
from cipherlens.errors import CipherlensError
from cipherlens.keys import Key

if TYPE_CHECKING:
    from cipherlens import testing
    from cipherlens.attacks import View, register_attack, run_attack
    from cipherlens.auditing.result import AuditReport
    from cipherlens.auditing.run import AuditConfig, audit
    from cipherlens.data.sealed.dataset import SealedDataset
    from cipherlens.keyed import fold, lock
    from cipherlens.models import create_model

__version__ = "0.1.0"

# Imported on first use: a client needs no torch, and does not wait for its import.
_LAZY = {
    "AuditConfig": "cipherlens.auditing.run",
    "AuditReport": "cipherlens.auditing.result",
    "SealedDataset": "cipherlens.data.sealed.dataset",
    "View": "cipherlens.attacks",
    "audit": "cipherlens.auditing.run",
    "create_model": "cipherlens.models",
    "fold": "cipherlens.keyed",
    "lock": "cipherlens.keyed",
    "register_attack": "cipherlens.attacks",
    "run_attack": "cipherlens.attacks",
}

__all__ = [
    "AuditConfig",
    "AuditReport",
    "CipherlensError",
    "Key",
    "SealedDataset",
    "View",
    "audit",
    "create_cipher",
    "create_model",
    "fold",
    "lock",
    "register_attack",
    "register_cipher",
    "run_attack",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module("cipherlens.testing")
    if name not in _LAZY:
        raise AttributeError(f"module 'cipherlens' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
