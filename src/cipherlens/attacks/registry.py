"""Attacks of an eavesdropper, by name and behind one interface. NumPy only."""

from typing import Any

from cipherlens.attacks.base import THREAT_MODELS, Attack, AttackResult, View
from cipherlens.attacks.covariance.attack import BLOCK_LINEAR, HALVED, attack_covariance
from cipherlens.attacks.jigsaw.attack import MOST_ALONE, MOST_BLOCKS, attack_jigsaw
from cipherlens.attacks.learned.attacks import (
    LEARNED,
    attack_labelled,
    attack_pairs,
    attack_simulated_keys,
    attack_unpaired,
)
from cipherlens.attacks.plaintext.chosen import attack_chosen_plaintext
from cipherlens.attacks.plaintext.known import SOLVED, attack_known_plaintext
from cipherlens.attacks.positions.pixel_correlation import MOST_PIXELS, attack_correlation
from cipherlens.attacks.positions.value_correlation import (
    MOST_PLACES,
    attack_value_correlation,
    moves_between_blocks,
)
from cipherlens.attacks.values.signs import attack_neighbours
from cipherlens.attacks.values.single_image import attack_differences, attack_features
from cipherlens.attacks.values.substitution import attack_levels
from cipherlens.ciphers.structure import REARRANGEMENTS
from cipherlens.errors import UsageError, unknown_name

# The identity is a matrix as well; it serves as the positive control.
_MATRICES = ("hill", "identity")
_PIXELWISE = ("negpos", "pe")
_FOLDED = 0.25
"""Minimum control SSIM of attacks on single images: what a picture folded at the middle grey can reach."""

_PUZZLE_ALONE = 0.5
"""Minimum control SSIM of `jigsaw`, set by hand: one picture leaves some seams and blank blocks ambiguous."""
_LEARNT_PIXELS = 64 * 64
"""Maximum pixels, a limit on memory: a map of the whole picture has a weight per value and direction."""

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        Attack(
            "covariance",
            "coa",
            (*BLOCK_LINEAR, HALVED, "identity"),
            "compares block statistics of many encrypted images with those of natural images, "
            "and finds the matrix that connects them",
            attack_covariance,
            composes=BLOCK_LINEAR,
            finds_inverse=True,
        ),
        Attack(
            "correlation",
            "coa",
            ("pixel-permutation", "identity"),
            "finds from many encrypted images which pixels look alike, and so which were neighbours",
            attack_correlation,
            alignment="symmetries",
            finds_inverse=True,
            min_images=50,
            max_pixels=MOST_PIXELS,
        ),
        Attack(
            "value-correlation",
            "coa",
            ("block-scrambling", "etc", "ele", "patch", "identity"),
            "finds from many encrypted images which values vary together, wherever they went and inverted or not",
            attack_value_correlation,
            alignment="symmetries",
            composes=REARRANGEMENTS,
            min_images=100,
            max_pixels=MOST_PLACES,
            needs_public=True,
            supports=moves_between_blocks,
        ),
        Attack(
            "levels",
            "coa",
            ("ffx", "identity"),
            "finds from a few encrypted images what each substituted value was, by what usually lies around it",
            attack_levels,
            needs_public=True,
        ),
        Attack(
            "neighbours",
            "coa",
            ("negpos", "np", "pe", "identity"),
            "finds from a few encrypted images which values are dark where their neighbours are bright",
            attack_neighbours,
            alignment="colours",
        ),
        Attack(
            "feature-reconstruction",
            "coa",
            _PIXELWISE,
            "takes each picture alone and inverts all bright values",
            attack_features,
            alignment="affine each",
            min_control_ssim=_FOLDED,
        ),
        Attack(
            "minimum-difference",
            "coa",
            _PIXELWISE,
            "takes each picture alone and gives every pixel the possible value that fits its neighbours best",
            attack_differences,
            alignment="affine each",
            min_control_ssim=_FOLDED,
        ),
        Attack(
            "jigsaw",
            "coa",
            ("block-scrambling", "etc", "identity"),
            "puts the blocks of encrypted images together by their edges, like a jigsaw puzzle",
            attack_jigsaw,
            alignment="poses",
            min_control_ssim=_PUZZLE_ALONE,
            max_blocks=MOST_BLOCKS,
            max_images_per_image_key=MOST_ALONE,
            fixed_pose_ciphers=("block-scrambling", "identity"),
        ),
        Attack(
            "hill-known-plaintext",
            "kpa",
            _MATRICES,
            "solves linear equations for the matrix from pictures it knows with their encrypted form",
            attack_known_plaintext,
        ),
        Attack(
            "known-plaintext",
            "kpa",
            SOLVED,
            "works out from pictures it knows with their encrypted form which values went where",
            attack_known_plaintext,
            composes=REARRANGEMENTS,
        ),
        Attack(
            "chosen-plaintext",
            "cpa",
            (*SOLVED, *_MATRICES),
            "has a few made-up pictures encrypted that number every value, and reads the key off them",
            attack_chosen_plaintext,
            composes=REARRANGEMENTS,
        ),
        Attack(
            "itn",
            "coa",
            LEARNED,
            "trains a network to undo the scheme on public images under many keys of its own",
            attack_simulated_keys,
            max_pixels=_LEARNT_PIXELS,
            cost_minutes=2.0,
            needs_public=True,
            simulates_cipher=True,
        ),
        Attack(
            "itn-pairs",
            "kpa",
            LEARNED,
            "trains a network to undo the key from pictures it knows with their encrypted form",
            attack_pairs,
            min_images=50,
            max_pixels=_LEARNT_PIXELS,
            cost_minutes=2.0,
        ),
        Attack(
            "gan",
            "coa",
            LEARNED,
            "trains a network whose pictures a second one cannot tell from natural ones",
            attack_unpaired,
            min_images=50,
            max_pixels=_LEARNT_PIXELS,
            cost_minutes=3.0,
            needs_public=True,
        ),
        Attack(
            "sia-gan",
            "labels",
            LEARNED,
            "trains the same with a second network that also knows what every picture shows",
            attack_labelled,
            min_images=50,
            max_pixels=_LEARNT_PIXELS,
            cost_minutes=3.0,
            needs_public=True,
        ),
    )
}


def run_attack(name: str, view: View) -> AttackResult:
    """Run an attack by name on a view; ``result.reconstruction`` is (N, C, H, W) float32.

    Raises UsageError, listing the attacks, for an unknown name, or if the view does not fit the attack.
    """
    if name not in ATTACKS:
        raise unknown_name("attack", name, list(ATTACKS))
    return ATTACKS[name].run(view)


def list_attacks(cipher: str, params: dict[str, Any] | None = None, slow: bool = False) -> list[Attack]:
    """The attacks that apply to a cipher; ``params`` hold the parts of a composition.

    Attacks that take minutes are listed only if ``slow``.
    """
    return [
        attack
        for attack in ATTACKS.values()
        if attack.applies(cipher, params) and (slow or not attack.cost_minutes)
    ]


def require_applicable(attack: Attack, cipher: str, params: dict[str, Any] | None = None) -> None:
    """Raise UsageError, naming the attacks that apply, if this one does not apply to the cipher."""
    if not attack.applies(cipher, params) and cipher != "stream":
        others = ", ".join(a.name for a in list_attacks(cipher, params, slow=True)) or "none yet"
        raise UsageError(f"{attack.name} does not apply to {cipher}", hint=f"attacks that do: {others}")


__all__ = ["ATTACKS", "THREAT_MODELS", "Attack", "AttackResult", "View", "list_attacks", "run_attack"]
