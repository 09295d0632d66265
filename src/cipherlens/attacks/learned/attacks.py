"""Learned decryptors: networks trained to undo a scheme, under own keys, on known pairs, or against a critic.

Inverse transformation network: Ito, Kinoshita and Kiya 2021. GAN, with labels SIA-GAN: Madono et al. 2021. Public
code of these has faults (docs/attacks.md). Here the network has the shape of the scheme's inverse, and its output
is the same in training and in use. Its weights are chosen on images that the attacker holds out. torch is imported
where it is needed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Draw, Images, Labels, View, require_labels, require_public, to_unit
from cipherlens.attacks.plaintext.known import to_bytes
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.structure import HALVES
from cipherlens.errors import UsageError
from cipherlens.keys import Key

Found = tuple[Images, dict[str, Any]]
Pairs = tuple[Images, Images]

STEPS, GAN_STEPS = 1200, 750
"""Maximum training steps on pairs and against a critic: a limit on time (minutes), set by hand."""
KEYS = 256
"""Own keys per round, each for a few pictures. Set by hand: key schedules cost time."""
STRUCTURES = {
    "blocks": ("hill", "shf", "np", "patch", "le", "identity"),
    "positions": ("negpos", "pe"),
    "moves": ("block-scrambling", "pixel-permutation", "ele", "etc", "etc-legacy"),
}
"""The kind of map that undoes a scheme: of each block, of each pixel, or of the whole picture."""
LEARNED = tuple(cipher for ciphers in STRUCTURES.values() for cipher in ciphers)
_HELD_OUT = 0.1
"""Share of the attacker's images on which weights are chosen. Set by hand."""


def attack_simulated_keys(view: View, steps: int = STEPS) -> Found:
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


def attack_pairs(view: View, steps: int = STEPS) -> Found:
    """Train on the view's known pairs, then decrypt. Raises UsageError without pairs."""
    if view.known_plain is None or view.known_ct is None:
        raise UsageError(f"an attack on {view.cipher} with known pictures needs pairs")
    (held_ct, ct), (held_plain, plain) = map(_hold_back, (view.known_ct, view.known_plain))
    return _learn(view, lambda number: (ct, plain), (held_ct, held_plain), steps)


def attack_unpaired(view: View, steps: int = GAN_STEPS) -> Found:
    """Learn a map of the ciphertexts whose pictures a critic cannot tell from public ones.

    Raises UsageError without public images of the ciphertexts' size.
    """
    public = require_public(view)
    return _learn_unpaired(
        view, (np.zeros(len(view.ciphertexts), np.int64), np.zeros(len(public), np.int64)), steps
    )


def attack_labelled(view: View, steps: int = GAN_STEPS) -> Found:
    """As :func:`attack_unpaired`, with a critic that also judges whether a picture fits its ciphertext's label.

    Raises UsageError without labelled public images of the ciphertexts' size, or without labels.
    """
    labels = require_labels(view)
    return _learn_unpaired(view, labels, steps, classes=1 + int(max(part.max() for part in labels)))


def _learn_unpaired(view: View, labels: tuple[Labels, Labels], steps: int, classes: int = 0) -> Found:
    from cipherlens.attacks.learned.training import apply, fix_seed, start_network, train_against_critic

    (held_out, public), (_, public_labels) = _hold_back(require_public(view)), _hold_back(labels[1])
    with fix_seed(view.seed):
        network = start_network(*_describe(view), view.ciphertexts, public)
        seen, natural = (view.ciphertexts, labels[0]), (public, public_labels)
        details = train_against_critic(network, seen, natural, held_out, steps, classes)
        return apply(network, view.ciphertexts), details


def _learn(view: View, draw: Draw, held_out: Pairs, steps: int) -> Found:
    from cipherlens.attacks.learned.training import apply, fix_seed, start_network, train_on_pairs

    with fix_seed(view.seed):
        network = start_network(*_describe(view), *draw(0))
        details = train_on_pairs(network, draw, held_out, steps)
        return apply(network, view.ciphertexts), details


def _describe(view: View) -> tuple[str, tuple[int, int, int], int, bool]:
    """Structure, shape, block and half bytes for the network that can express the inverse of the view's scheme."""
    moved = view.cipher == "patch" and view.params.get("scramble")
    structure = next((name for name, ciphers in STRUCTURES.items() if view.cipher in ciphers), "blocks")
    return "moves" if moved else structure, view.plain_shape, view.block, view.cipher in HALVES


def encrypt_own(view: View, images: NDArray[np.uint8], label: str) -> Images:
    """Images (N, C, H, W) under at most KEYS own keys, which depend on view.seed and ``label``.

    With a key per image each of the victim's images is one more key to the network.
    """
    params = {name: value for name, value in view.params.items() if name != "per_image"}
    cipher, secret = create_cipher(view.cipher, **params), Key(bytes(32)).subkey(f"own:{view.seed}:{label}")
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
