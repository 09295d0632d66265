"""Rules that every attack keeps, whoever wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cipherlens.attacks import THREAT_MODELS, Attack, View, get_attack
from cipherlens.attacks.base import to_unit
from cipherlens.ciphers import Cipher, create_cipher, list_ciphers
from cipherlens.ciphers.structure import Kind, Shape
from cipherlens.ciphers.threat_models import MAX_QUERIES
from cipherlens.data.images import Preprocess
from cipherlens.data.sources.registry import open_source
from cipherlens.errors import UsageError
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.target import Target
from cipherlens.evaluation.views import build_views
from cipherlens.keys import Key
from cipherlens.testing.report import require, run_checks

_SIDE = 16
"""Side of the generated pictures: as small as most attacks allow, because checks should take seconds."""
_IMAGES, _PUBLIC, _PAIRS = 300, 300, 10
"""Images that are attacked (or as many as the attack needs), public ones, and pairs. Chosen by hand."""


def check_attack(attack: Attack, cipher: Cipher | None = None, images: int = _IMAGES, side: int = _SIDE) -> None:
    """Check an attack on ``images`` generated pictures of ``side`` x ``side``, under a cipher that it supports.

    The two controls, the same result again, no change to what it is given, honest failure without what it needs,
    and a map that reads further images where it gives one. ``cipher``: the one to attack, by default the first of
    all installed ones that it supports. Raises CheckError at the first rule that it breaks.
    """
    shape = (3, side, side)
    chosen = cipher or next((one for one in _list_all(shape) if _supports(attack, one, shape)), None)
    require(chosen is not None, f"{attack.name} supports no installed cipher: name one")
    assert chosen is not None
    run_checks(CHECKS, Case(attack, chosen, shape, max(images, attack.requirements.min_images + 1)), attack.name)


@dataclass(frozen=True)
class Case:
    """An attack on images under a cipher."""

    attack: Attack
    cipher: Cipher
    shape: Shape
    images: int

    @cached_property
    def target(self) -> Target:
        """Images under a key, and others that are public, all with their classes."""
        source = open_source(f"synthetic:objects?n={self.images + _PUBLIC}&test=1&size={self.shape[1]}")
        items = source.read("train", list(range(self.images + _PUBLIC)))
        pictures = np.stack([Preprocess().apply(item) for item in items])
        labels = np.array([item.label for item in items], np.int64)
        plain, public = pictures[: self.images], pictures[self.images :]
        bound = self.cipher.bind(Key(bytes(range(32))), self.shape)
        ct = bound.encrypt(plain, [f"test/{number}" for number in range(len(plain))])
        return Target(
            self.cipher,
            plain,
            ct,
            public,
            "generated images",
            bound,
            labels[: self.images],
            labels[self.images :],
        )

    @property
    def budget(self) -> int:
        """Enough for the attack."""
        model = self.attack.threat_model
        if model.sees_budget:
            return self.images
        return MAX_QUERIES if model.chooses else max(_PAIRS, self.attack.requirements.min_images)

    def view(self) -> View:
        """What the attack is given."""
        count = len(self.target.plain)
        first = self.budget if self.attack.threat_model.knows_pairs else 0
        return build_views(self.attack, self.target, [np.arange(first, count)], self.budget, seed=0)[0]


def check_description(case: Case) -> None:
    """It says whom it stands for, and what it means when it finds nothing."""
    attack = case.attack
    require(attack.threat_model in THREAT_MODELS.values(), "its threat model is none of THREAT_MODELS")
    require(attack.summary, "it has no summary")
    require(
        "nothing" in (type(attack).__doc__ or ""), "its docstring does not say what it means if it finds nothing"
    )
    require(get_attack(attack.name).name == attack.name, "it is not registered under its name")


def check_support(case: Case) -> None:
    """It claims nothing about real encryption."""
    stream = create_cipher("stream")
    claims = case.attack.supports(stream, case.shape, stream.ct_shape(case.shape))
    require(not claims, "it claims to say something about authenticated encryption")
    require(_supports(case.attack, case.cipher, case.shape), f"it says nothing about {case.cipher.name}")


def check_result(case: Case) -> None:
    """Pictures of the plain shape, the same ones again, and a view that stays as it was."""
    view, again = case.view(), case.view()
    before = view.ciphertexts.copy()
    first, second = case.attack.execute(view), case.attack.execute(again)
    require(np.array_equal(before, view.ciphertexts), "it changes the ciphertexts it is given")
    expected = (len(before), *case.shape)
    require(first.reconstruction.shape == expected, f"pictures are {first.reconstruction.shape}, not {expected}")
    require(first.reconstruction.dtype == np.float32, f"pictures are {first.reconstruction.dtype}, not float32")
    same = np.allclose(first.reconstruction, second.reconstruction, atol=1e-5, equal_nan=True)
    require(same, "the same view and seed give other pictures")
    require(not case.attack.finds_inverse or first.inverse is not None, "finds_inverse, but it returned no map")
    if first.inverse is not None:
        read = first.inverse.apply(to_unit(case.target.ct[-5:]))
        require(
            np.allclose(read, first.reconstruction[-5:], atol=1e-4), "its map gives other pictures than it showed"
        )


def check_honesty(case: Case) -> None:
    """Without what its threat model gives, it fails by UsageError."""
    model = case.attack.threat_model
    if not (model.knows_pairs or model.chooses):
        return
    bare = View(case.cipher, case.target.ciphertexts()[:2], shape=case.shape)
    try:
        case.attack.execute(bare)
    except UsageError:
        return
    require(False, "it gives a result without pairs or an oracle")


def check_controls(case: Case) -> None:
    """Plain images come back, and from a real cipher it learns nothing."""
    budget = 1 if case.attack.threat_model.chooses else case.budget
    for control in run_controls(case.attack, case.target, budget):
        figures = f"SSIM {control.ssim:.3f}, guessing {control.guess_ssim:.3f}"
        require(control.passed, f"the {control.control} control: {figures}")


def _supports(attack: Attack, cipher: Cipher, shape: Shape) -> bool:
    return attack.supports(cipher, shape, cipher.ct_shape(shape))


def _list_all(shape: Shape) -> Sequence[Cipher]:
    """Ciphers that do something, always the same under a key."""
    ciphers = [create_cipher(name) for name in list_ciphers()]
    kinds = (Kind.NOTHING, Kind.FRESH)
    return [cipher for cipher in ciphers if cipher.structure(shape).kind not in kinds]


CHECKS = (check_description, check_support, check_result, check_honesty, check_controls)
