"""Learned decryptors: networks trained to undo a scheme, under own keys, on known pairs, or against a critic.

Inverse transformation network: Ito, Kinoshita and Kiya 2021. GAN, with labels SIA-GAN: Madono et al. 2021. Public
code of these has faults (docs/attacks/). Here the network has the shape of the scheme's inverse, and its output
is the same in training and in use. Its weights are chosen on images that the attacker holds out. torch is imported
where it is needed.
"""

from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import (
    DeclaredAttack,
    Draw,
    Found,
    Images,
    Labels,
    Requirements,
    View,
    require_labels,
    require_public,
    to_unit,
)
from cipherlens.attacks.plaintext.known import to_bytes
from cipherlens.ciphers.base import Cipher
from cipherlens.ciphers.structure import KeyStructure, Kind, Scope, Shape
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY, KNOWN_PLAINTEXT, LABELLED
from cipherlens.errors import UsageError
from cipherlens.keys import Key

Pairs = tuple[Images, Images]

STEPS, GAN_STEPS = 1200, 750
"""Maximum training steps on pairs and against a critic: a limit on time (minutes), set by hand."""
KEYS = 256
"""Own keys per round, each for a few pictures. Set by hand: key schedules cost time."""
LEARNED = (Kind.NOTHING, Kind.REARRANGEMENT, Kind.LINEAR, Kind.OTHER)
"""What the networks can undo: maps of values or of their places, not tables or residues."""
_LEARNT_PIXELS = 64 * 64
"""Maximum pixels: a map of the whole picture has a weight for every value and direction. A limit on memory."""
_HELD_OUT = 0.1
"""Share of the attacker's images on which weights are chosen. Set by hand."""


def attack_simulated_keys(view: View, steps: int = STEPS) -> tuple[Images, dict[str, Any]]:
    """Train on public images under the attacker's own keys, then decrypt the victim's ciphertexts.

    Raises UsageError without public images of the ciphertexts' size.
    """
    held_out, rest = _hold_back(to_bytes(require_public(view)))
    pictures = to_unit(rest)
    return _learn(
        view,
        lambda number: (encrypt_own(view, rest, str(number)), pictures),
        (encrypt_own(view, held_out, "held out"), to_unit(held_out)),
        steps,
    )


def attack_pairs(view: View, steps: int = STEPS) -> tuple[Images, dict[str, Any]]:
    """Train on the view's known pairs, then decrypt. Raises UsageError without pairs."""
    if view.known_plain is None or view.known_ct is None:
        raise UsageError("an attack with known pictures needs pairs")
    (held_ct, ct), (held_plain, plain) = map(_hold_back, (view.known_ct, view.known_plain))
    return _learn(view, lambda number: (ct, plain), (held_ct, held_plain), steps)


def attack_unpaired(view: View, steps: int = GAN_STEPS) -> tuple[Images, dict[str, Any]]:
    """Learn a map of the ciphertexts whose pictures a critic cannot tell from public ones.

    Raises UsageError without public images of the ciphertexts' size.
    """
    public = require_public(view)
    return _learn_unpaired(
        view, (np.zeros(len(view.ciphertexts), np.int64), np.zeros(len(public), np.int64)), steps
    )


def attack_labelled(view: View, steps: int = GAN_STEPS) -> tuple[Images, dict[str, Any]]:
    """As :func:`attack_unpaired`, with a critic that also judges whether a picture fits its ciphertext's label.

    Raises UsageError without labelled public images of the ciphertexts' size, or without labels.
    """
    labels = require_labels(view)
    return _learn_unpaired(view, labels, steps, classes=1 + int(max(part.max() for part in labels)))


def _learn_unpaired(
    view: View, labels: tuple[Labels, Labels], steps: int, classes: int = 0
) -> tuple[Images, dict[str, Any]]:
    from cipherlens.attacks.learned.training import apply, fix_seed, start_network, train_against_critic

    (held_out, public), (_, public_labels) = _hold_back(require_public(view)), _hold_back(labels[1])
    with fix_seed(view.seed):
        network = start_network(*_describe(view), view.ciphertexts, public)
        seen, natural = (view.ciphertexts, labels[0]), (public, public_labels)
        details = train_against_critic(network, seen, natural, held_out, steps, classes)
        return apply(network, view.ciphertexts), details


def _learn(view: View, draw: Draw, held_out: Pairs, steps: int) -> tuple[Images, dict[str, Any]]:
    from cipherlens.attacks.learned.training import apply, fix_seed, start_network, train_on_pairs

    with fix_seed(view.seed):
        network = start_network(*_describe(view), *draw(0))
        details = train_on_pairs(network, draw, held_out, steps)
        return apply(network, view.ciphertexts), details


def _describe(view: View) -> tuple[str, tuple[int, int, int], int, bool]:
    """Structure, shape, block and half bytes for the network that can express the inverse of the view's scheme."""
    structure = view.structure
    if structure.scope is Scope.BLOCKS or structure.kind is Kind.NOTHING:
        kind = "blocks"
    else:
        kind = "positions" if structure.scope is Scope.PIXELS else "moves"
    return kind, view.plain_shape, view.block, structure.halves


def encrypt_own(view: View, images: NDArray[np.uint8], label: str) -> Images:
    """Images (N, C, H, W) under at most KEYS own keys, which depend on view.seed and ``label``.

    With a key per image each of the victim's images is one more key to the network.
    """
    if view.cipher is None:
        raise UsageError(
            "nobody declared the scheme, so the attacker cannot encrypt", hint="give the view its cipher"
        )
    fixed = {"per_image": False} if view.cipher.per_image else {}
    cipher, secret = replace(cast(Any, view.cipher), **fixed), Key(bytes(32)).subkey(f"own:{view.seed}:{label}")
    # A loop, because every key has a key schedule.
    parts = [
        cipher.bind(secret.subkey(str(number)), view.plain_shape).encrypt(part)
        for number, part in enumerate(np.array_split(images, min(KEYS, len(images))))
    ]
    return to_unit(np.concatenate(parts))


def _hold_back(images: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A tenth of the images (at least one), on which weights are chosen, and the others, for training."""
    held = max(1, round(_HELD_OUT * len(images)))
    return images[:held], images[held:]


class _LearnedAttack(DeclaredAttack):
    """A network trained to undo the scheme."""

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """What a network of this shape can undo."""
        return structure.kind in LEARNED


class SimulatedKeysAttack(_LearnedAttack):
    """Inverse transformation network (Ito, Kinoshita and Kiya 2021), trained under keys of the attacker.

    If it finds nothing, that says little: training may fail where other attacks succeed.
    """

    name = "itn"
    threat_model = CIPHERTEXT_ONLY
    summary = "trains a network to undo the scheme on public images under many keys of its own"
    requirements = Requirements(max_pixels=_LEARNT_PIXELS, public_images=True, cost_minutes=2.0)
    simulates_cipher = True

    @classmethod
    def supports(cls, cipher: Cipher | None, plain_shape: Shape, sealed_shape: Shape) -> bool:
        """The same, where the scheme is known, so that the attacker can encrypt with it."""
        return cipher is not None and super().supports(cipher, plain_shape, sealed_shape)

    def run(self, view: View) -> Found:
        """See :func:`attack_simulated_keys`."""
        return attack_simulated_keys(view)


class PairsAttack(_LearnedAttack):
    """The same network, trained on the victim's pairs.

    If it finds nothing, that says little: training may fail where other attacks succeed.
    """

    name = "itn-pairs"
    threat_model = KNOWN_PLAINTEXT
    summary = "trains a network to undo the key from pictures it knows with their encrypted form"
    requirements = Requirements(min_images=50, max_pixels=_LEARNT_PIXELS, cost_minutes=2.0)

    def run(self, view: View) -> Found:
        """See :func:`attack_pairs`."""
        return attack_pairs(view)


class UnpairedAttack(_LearnedAttack):
    """A generator against a critic that knows natural images (Madono et al. 2021).

    If it finds nothing, that says little: training may fail where other attacks succeed.
    """

    name = "gan"
    threat_model = CIPHERTEXT_ONLY
    summary = "trains a network whose pictures a second one cannot tell from natural ones"
    requirements = Requirements(min_images=50, max_pixels=_LEARNT_PIXELS, public_images=True, cost_minutes=3.0)

    def run(self, view: View) -> Found:
        """See :func:`attack_unpaired`."""
        return attack_unpaired(view)


class LabelledAttack(_LearnedAttack):
    """SIA-GAN (Madono et al. 2021): the critic also knows the labels.

    If it finds nothing, that says little: training may fail where other attacks succeed.
    """

    name = "sia-gan"
    threat_model = LABELLED
    summary = "trains the same with a second network that also knows what every picture shows"
    requirements = Requirements(min_images=50, max_pixels=_LEARNT_PIXELS, public_images=True, cost_minutes=3.0)

    def run(self, view: View) -> Found:
        """See :func:`attack_labelled`."""
        return attack_labelled(view)
