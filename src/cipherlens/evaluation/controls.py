"""The two controls of every attack."""

from dataclasses import dataclass, replace

from cipherlens.attacks.base import Attack
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.threat_models import MAX_QUERIES
from cipherlens.evaluation.harness import GUESS_MARGIN, evaluate
from cipherlens.evaluation.target import ELSEWHERE, Target
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
    most = attack.most_images(target.key_per_image)
    known = budget if attack.threat_model.knows_pairs else 0
    count = min(len(target.plain), max(budget, known + _CONTROL_IMAGES) + 1, most)
    outcomes = []
    for name in ("identity", "stream"):
        plain = target.plain[:count]
        control = create_cipher(name)
        bound = control.bind(Key.generate(), target.plain_shape)
        ct = bound.encrypt(plain)
        told = name == "identity" and attack.simulates_cipher
        scheme = control if told else target.cipher
        labels = None if target.labels is None else target.labels[:count]
        fake = replace(target, cipher=scheme, plain=plain, ct=ct, bound=bound, labels=labels)
        size = _choose_size(attack, count, budget)
        result = evaluate(attack.without_key() if name == "identity" else attack, fake, size, seed)
        good = (
            result.ssim >= max(_choose_least(attack, target), result.guess_ssim + GUESS_MARGIN)
            if name == "identity"
            else result.ssim_ci95[0] <= result.guess_ssim + GUESS_MARGIN  # the same criterion as beats_guessing
        )
        outcomes.append(Control(attack.name, name, result.ssim, result.guess_ssim, good))
    return outcomes


def _choose_least(attack: Attack, target: Target) -> float:
    """The SSIM that the identity control asks for: what the attack can reach with what it knows of pictures.

    Photos of another origin may be of no use to it.
    """
    blind = attack.min_control_ssim_blind
    knows = target.public is not None and target.knowledge != ELSEWHERE
    return attack.min_control_ssim if knows or blind is None else blind


def _choose_size(attack: Attack, count: int, budget: int) -> int:
    """Budget of a control on ``count`` images."""
    if attack.threat_model.sees_budget:
        return count
    return MAX_QUERIES if attack.threat_model.chooses else min(budget, count - 1)
