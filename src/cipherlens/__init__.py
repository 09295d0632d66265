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

from cipherlens.ciphers import create_cipher, list_ciphers, register_cipher
from cipherlens.errors import CipherlensError
from cipherlens.keys import Key

if TYPE_CHECKING:
    from cipherlens import data as data
    from cipherlens import testing as testing
    from cipherlens.api.adapting import adapt
    from cipherlens.api.attack_report import AttackReport
    from cipherlens.api.attackers import AttackResources
    from cipherlens.api.attacking import attack
    from cipherlens.api.listing import list_attacks
    from cipherlens.api.training import TrainResult, recommend, train
    from cipherlens.attacks import View, register_attack, run_attack
    from cipherlens.auditing.result import AuditReport
    from cipherlens.auditing.run import AuditConfig, audit
    from cipherlens.ciphers.estimated_inverse import EstimatedInverse
    from cipherlens.data.images import Preprocess
    from cipherlens.data.sealed.dataset import SealedDataset
    from cipherlens.data.sealed.reading import SealOptions
    from cipherlens.data.sealed.seal import seal
    from cipherlens.data.sealed.unseal import unseal
    from cipherlens.integrations import hub as hub
    from cipherlens.integrations import transforms as transforms
    from cipherlens.integrations.exports import export
    from cipherlens.keyed import fold, lock
    from cipherlens.models import create_model
    from cipherlens.training.config import TrainConfig

__version__ = "0.2.0"

# Imported on first use: a client needs no torch, and does not wait for its import.
_LAZY = {
    "AttackReport": "cipherlens.api.attack_report",
    "AttackResources": "cipherlens.api.attackers",
    "AuditConfig": "cipherlens.auditing.run",
    "AuditReport": "cipherlens.auditing.result",
    "Client": "cipherlens.client",
    "EstimatedInverse": "cipherlens.ciphers.estimated_inverse",
    "Preprocess": "cipherlens.data.images",
    "SealOptions": "cipherlens.data.sealed.reading",
    "SealedDataset": "cipherlens.data.sealed.dataset",
    "TrainConfig": "cipherlens.training.config",
    "TrainResult": "cipherlens.api.training",
    "View": "cipherlens.attacks",
    "adapt": "cipherlens.api.adapting",
    "attack": "cipherlens.api.attacking",
    "audit": "cipherlens.auditing.run",
    "create_model": "cipherlens.models",
    "export": "cipherlens.integrations.exports",
    "fold": "cipherlens.keyed",
    "list_attacks": "cipherlens.api.listing",
    "lock": "cipherlens.keyed",
    "recommend": "cipherlens.api.training",
    "register_attack": "cipherlens.attacks",
    "run_attack": "cipherlens.attacks",
    "seal": "cipherlens.data.sealed.seal",
    "train": "cipherlens.api.training",
    "unseal": "cipherlens.data.sealed.unseal",
}

# Rooms rather than names: they are reached as cipherlens.testing, and a star import does not bring them along.
_MODULES = {
    "data": "cipherlens.data",
    "hub": "cipherlens.integrations.hub",
    "testing": "cipherlens.testing",
    "transforms": "cipherlens.integrations.transforms",
}

__all__ = [
    "AttackReport",
    "AttackResources",
    "AuditConfig",
    "AuditReport",
    "CipherlensError",
    "EstimatedInverse",
    "Key",
    "Preprocess",
    "SealOptions",
    "SealedDataset",
    "TrainConfig",
    "TrainResult",
    "View",
    "adapt",
    "attack",
    "audit",
    "create_cipher",
    "create_model",
    "export",
    "fold",
    "list_attacks",
    "list_ciphers",
    "lock",
    "recommend",
    "register_attack",
    "register_cipher",
    "run_attack",
    "seal",
    "train",
    "unseal",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _LAZY:
        raise AttributeError(f"module 'cipherlens' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
