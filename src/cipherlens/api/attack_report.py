"""What one attack read, scored or not."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Attack, Images, View
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.ciphers.threat_models import MAX_QUERIES
from cipherlens.errors import UsageError
from cipherlens.evaluation.harness import Evaluation, evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key


@dataclass(frozen=True, eq=False)
class AttackReport:
    """What one attack read.

    ``reconstruction`` is (n, C, H, W) float32, nominally in [0, 1]; ``numbers`` (n,) are the positions of its
    images among those attacked. ``inverse`` reads further ciphertexts under the same key (None: the attack finds no
    such map). ``ciphertexts`` is the number of images attacked. ``evaluation`` holds all scores; None without
    plain images. ``recognition`` is what a classifier names in the reconstruction, where one was given.
    """

    attack: str
    reconstruction: Images = field(repr=False)
    numbers: NDArray[np.int64] = field(repr=False)
    ciphertexts: int
    seconds: float
    details: dict[str, Any]
    inverse: EstimatedInverse | None = field(repr=False)
    evaluation: Evaluation | None = field(default=None, repr=False)
    target: Target | None = field(default=None, repr=False)
    recognition: dict[str, Any] | None = None

    @property
    def ssim(self) -> float | None:
        """Mean structural similarity of the reconstruction; None where nothing was scored."""
        return None if self.evaluation is None else self.evaluation.ssim

    @property
    def guess_ssim(self) -> float | None:
        """That of the best guess without ciphertexts."""
        return None if self.evaluation is None else self.evaluation.guess_ssim

    @property
    def flags(self) -> tuple[str, ...]:
        """Reasons not to rely on the scores."""
        return () if self.evaluation is None else self.evaluation.flags

    def write_pictures(self, path: str | Path) -> None:
        """Write a PNG with rows of plain, encrypted and reconstructed images.

        Raises UsageError where the plain images were not given.
        """
        from cipherlens.auditing.report.pictures import write_comparison

        if self.evaluation is None or self.target is None:
            raise UsageError("there are no plain images to compare with", hint="give them", parameters=("plain",))
        write_comparison(Path(path), self.target, self.evaluation)


@dataclass(frozen=True)
class Terms:
    """What an attacker has and may spend, as ``cl.attack`` takes it."""

    public: Any
    key: Key | None
    budget: int | None
    seed: int
    starts: int | None


def score(chosen: Attack, target: Target, terms: Terms) -> AttackReport:
    """Run the attack on as many images as it may see, and score it on those that it did not know."""
    model = chosen.threat_model
    whole = (
        chosen.requirements.min_images if model.knows_pairs else MAX_QUERIES if model.chooses else len(target.plain)
    )
    budget = whole if terms.budget is None else terms.budget
    result = evaluate(chosen, target, budget, terms.seed, starts=terms.starts or 1)
    return AttackReport(
        chosen.name,
        result.reconstruction,
        result.scored,
        len(target.plain),
        result.seconds,
        result.details,
        result.inverse,
        result,
        replace(target, bound=None),  # a result holds no key
    )


def require_blind(chosen: Attack) -> None:
    """Raise UsageError for an attack that cannot do without plain images."""
    if chosen.threat_model.knows_pairs or chosen.threat_model.chooses:
        raise UsageError(
            f"the {chosen.name} attack needs the plain images", hint="give them", parameters=("plain",)
        )


def read_blind(chosen: Attack, view: View, terms: Terms) -> AttackReport:
    """Run an attack that nobody scores."""
    if lack := chosen.missing_images(len(view.ciphertexts), view.plain_shape, view.structure.block):
        raise UsageError(f"{chosen.name} {lack}", hint="see docs/attacks.md for what attacks need")
    result = chosen.execute(replace(view, starts=terms.starts or chosen.count_starts(view.structure)))
    seen = len(view.ciphertexts)
    return AttackReport(
        *(chosen.name, result.reconstruction, np.arange(seen), seen, result.seconds, result.details, result.inverse)
    )
