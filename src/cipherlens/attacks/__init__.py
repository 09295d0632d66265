"""Attacks of an eavesdropper, by name and behind one interface. NumPy only."""

from cipherlens.attacks.base import THREAT_MODELS, Attack, AttackResult, View
from cipherlens.attacks.registry import ATTACKS, list_attacks, run_attack

__all__ = ["ATTACKS", "THREAT_MODELS", "Attack", "AttackResult", "View", "list_attacks", "run_attack"]
