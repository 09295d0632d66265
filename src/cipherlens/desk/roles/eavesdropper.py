"""The eavesdropper: a process that gets ciphertexts and the public scheme, nothing else, and sends back pictures.

``python -m cipherlens.desk.roles.eavesdropper PARENT`` reads messages from standard input until it ends.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Attack, View
from cipherlens.attacks.registry import list_attacks
from cipherlens.ciphers import Cipher, create_cipher
from cipherlens.ciphers.structure import Shape
from cipherlens.desk.roles.children import step_back
from cipherlens.desk.roles.messages import read_array, read_head, write_message
from cipherlens.errors import CipherlensError
from cipherlens.evaluation.target import cut_nonce

_PREFERRED = (
    "covariance",
    "correlation",
    "jigsaw",
    "minimum-difference",
    "neighbours",
    "feature-reconstruction",
)
"""Attacks on ciphertexts alone, in the order in which they are taken. Chosen by hand from docs/attacks.md."""


def choose_attack(cipher: Cipher, shape: Shape, count: int) -> tuple[Attack | None, str]:
    """The first of our attacks on so many ciphertexts that needs no help, or None and the reason."""
    able, reasons = list[Attack](), list[str]()
    for attack in list_attacks(cipher, shape, cipher.ct_shape(shape)):
        model, needs = attack.threat_model, attack.requirements
        helped = model.knows_pairs or model.chooses or model.holds_model or needs.public_images
        if helped or needs.cost_minutes or attack.name not in _PREFERRED:
            continue
        lack = attack.missing_images(count, shape, cipher.structure(shape).block)
        able, reasons = (able, [*reasons, f"{attack.name} {lack}"]) if lack else ([*able, attack], reasons)
    if not able:
        return None, "; ".join(reasons) or "none of our attacks says anything about this scheme"
    return min(able, key=lambda attack: _PREFERRED.index(attack.name)), ""


def read(facts: dict[str, Any], ciphertexts: NDArray[Any]) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """What was read, and the pictures (n, C, H, W), float32, of the first ciphertexts.

    None where nothing can be read; not of all where each has its own key and attacking one takes long.
    """
    cipher = create_cipher(facts["cipher"], **facts["params"])
    shape: Shape = tuple(facts["shape"])
    attack, reason = choose_attack(cipher, shape, len(ciphertexts))
    if attack is None:
        return {"attack": None, "reason": reason}, np.zeros((0, *shape), np.float32)
    structure = cipher.structure(shape)
    starts = attack.count_starts(structure)
    seen = cut_nonce(ciphertexts[: attack.most_images(cipher.per_image)], shape[1])
    view = View(cipher, seen, shape=shape, starts=starts, key_per_image=cipher.per_image)
    found = attack.execute(view).reconstruction
    alignment = attack.choose_alignment(structure, cipher.per_image)
    told = {"attack": attack.name, "alignment": alignment}
    return told, np.nan_to_num(found).astype(np.float32)


def main() -> None:
    """Answer messages, one after the other."""
    step_back(sys.argv[-1])
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        facts, size = read_head(line)
        try:
            told, pictures = read(facts, read_array(facts, source.read(size)))
        except CipherlensError as error:
            told, pictures = {"attack": None, "reason": str(error.args[0])}, np.zeros((0, 1, 1, 1), np.float32)
        sink.write(write_message(told, pictures))
        sink.flush()


if __name__ == "__main__":
    main()
