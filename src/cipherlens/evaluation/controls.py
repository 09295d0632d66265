"""The two controls of every attack."""

from dataclasses import dataclass, replace

from cipherlens.attacks.base import Attack
from cipherlens.ciphers import create_cipher
from cipherlens.evaluation.harness import GUESS_MARGIN, MAX_QUERIES, evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key

_CONTROL_IMAGES = 200
"""Minimum images of a control, besides known ones, if the target has as many. Set by hand."""


@dataclass(frozen=True)
class Control:
    """Outcome of one control of one attack."""

    attack: str
    control: str
    ssim: float
    guess_ssim: float
    passed: bool


def run_controls(attack: Attack, target: Target, budget: int, seed: int = 0) -> list[Control]:
    """Run both controls: plain images must come back, and stream ciphertexts score no better than guessing.

    The attack is told that both are the target's scheme. Only an attack that ``simulates_cipher`` is told that the
    first is the identity.
    """
    most = attack.most_images(target.params)
    known = budget if attack.threat_model == "kpa" else 0
    count = min(len(target.plain), max(budget, known + _CONTROL_IMAGES) + 1, most)
    outcomes = []
    for name in ("identity", "stream"):
        plain = target.plain[:count]
        bound = create_cipher(name).bind(Key.generate(), plain.shape[1:])
        ct = bound.encrypt(plain)
        told = name == "identity" and attack.simulates_cipher
        scheme, params = (name, {}) if told else (target.cipher, target.params)
        labels = None if target.labels is None else target.labels[:count]
        fake = replace(target, cipher=scheme, params=params, plain=plain, ct=ct, bound=bound, labels=labels)
        size = {"coa": count, "labels": count, "cpa": MAX_QUERIES}.get(attack.threat_model, min(budget, count - 1))
        result = evaluate(attack, fake, size, seed)
        good = (
            result.ssim >= max(attack.min_control_ssim, result.guess_ssim + GUESS_MARGIN)
            if name == "identity"
            else result.ssim_ci95[0] <= result.guess_ssim + GUESS_MARGIN  # the same criterion as beats_guessing
        )
        outcomes.append(Control(attack.name, name, result.ssim, result.guess_ssim, good))
    return outcomes
