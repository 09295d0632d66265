"""Attacks of an eavesdropper, by name and behind one interface. Importing them needs NumPy only."""

from cipherlens.attacks.base import Attack, AttackResult, Requirements, View
from cipherlens.attacks.catalogue import BUILT_IN
from cipherlens.attacks.registry import ATTACKS, get_attack, list_attacks, register_attack, run_attack
from cipherlens.ciphers.threat_models import THREAT_MODELS, ThreatModel

__all__ = [
    "ATTACKS",
    "BUILT_IN",
    "THREAT_MODELS",
    "Attack",
    "AttackResult",
    "Requirements",
    "ThreatModel",
    "View",
    "get_attack",
    "list_attacks",
    "register_attack",
    "run_attack",
]
