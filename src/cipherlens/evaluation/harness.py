"""The harness: keeps the plain images, builds views, runs attacks, scores.

Attacks have no access to it. An evaluation carries flags where its scores are unreliable.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Attack, AttackResult, Images, to_unit
from cipherlens.attacks.registry import get_attack, require_applicable
from cipherlens.ciphers import Cipher
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.ciphers.structure import Shape
from cipherlens.ciphers.threat_models import ThreatModel
from cipherlens.errors import UsageError
from cipherlens.evaluation.alignment import ALIGNMENTS
from cipherlens.evaluation.metrics import (
    find_most_exposed,
    interval_within,
    mean_and_interval,
    mean_similarity,
    reidentify,
    score,
)
from cipherlens.evaluation.target import Target
from cipherlens.evaluation.views import FEW_IMAGES, SEVERAL_RUNS, build_views, choose_groups

GUESS_MARGIN = 0.02
"""SSIM by which a score must exceed that of guessing to count as better. Set by hand."""


@dataclass(frozen=True)
class Evaluation:
    """Score of one attack at one budget; see docs/attacks.md for the fields.

    ``exposed`` are the places, in ``scored`` and ``reconstruction``, of the images that were read best.
    """

    attack: str
    threat_model: ThreatModel
    summary: str
    budget: int
    budget_unit: str
    n: int
    ssim: float
    ssim_ci95: tuple[float, float]
    psnr: float
    exact_values: float
    reidentified: float | None
    ms_ssim: float | None
    st_lpips: float | None
    guess_ssim: float
    beats_guessing: bool
    seconds: float
    prior: str
    seed: int
    flags: tuple[str, ...]
    details: dict[str, Any]
    reconstruction: Images = field(repr=False)
    scored: NDArray[np.int64] = field(repr=False)
    inverse: EstimatedInverse | None = field(default=None, repr=False)
    knowledge: str = ""
    ssim_exposed: float | None = None
    exposed: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp), repr=False)

    def to_json(self) -> dict[str, Any]:
        """All but the pictures, by the names that records and reports use."""
        hidden = ("reconstruction", "scored", "inverse", "exposed")
        names = {"exact_values": "exact_pixels"}  # as records of the first versions call it
        facts = {names.get(name, name): value for name, value in vars(self).items() if name not in hidden}
        if not self.knowledge:  # nothing is said of it where no audit compares attackers
            del facts["knowledge"]
        return facts | {"threat_model": self.threat_model.name}


def evaluate(
    attack: Attack, target: Target, budget: int, seed: int = 0, runs: int = SEVERAL_RUNS, starts: int = 1
) -> Evaluation:
    """Run one attack on a target and score it.

    The budget is the number of known pairs, or of ciphertexts seen. For chosen images it is the maximum number of
    queries, and the evaluation gives the number made. Ciphertext-only attacks with a small budget run up to
    ``runs`` times, each on other ciphertexts alone. So one easy image does not decide the score. ``seconds`` is the
    mean of one run. ``starts`` is the number of starts of a search that can end in local minima. Known images are
    never scored. Raises UsageError if the target is too small.
    """
    total, spent = len(target.plain), attack.threat_model.count_spent(budget)
    if lack := target.missing_requirement(attack, budget + attack.threat_model.knows_pairs):
        raise UsageError(f"{attack.name} {lack}", hint="see docs/attacks.md for what attacks need")
    if budget < 1 or spent >= total:
        raise UsageError(
            f"budget {budget} needs {spent + 1} images, there are {total}",
            hint="lower the budget",
            parameters=("budget",),
        )
    groups = choose_groups(attack, total, budget, runs)
    results = [attack.execute(view) for view in build_views(attack, target, groups, budget, seed, starts)]
    seen = np.concatenate(groups)
    merged = AttackResult(
        np.concatenate([result.reconstruction for result in results]),
        float(np.mean([result.seconds for result in results])),
        results[0].details | {"runs": len(results)},
        results[0].inverse,
    )
    return _score(attack, target, merged, to_unit(target.plain[seen]), seen, budget, seed)


def _score(
    attack: Attack, target: Target, result: AttackResult, plain: Images, seen: Any, budget: int, seed: int
) -> Evaluation:
    result = replace(result, reconstruction=_align(attack, target, result.reconstruction, plain))
    scores = score(result.reconstruction, plain)
    ssim, interval = mean_and_interval(scores.ssim)
    if len(plain) == 1:
        interval = interval_within(ssim, result.reconstruction, plain)
    guess, exposed = _score_guess(attack, target, plain), find_most_exposed(scores.ssim)
    flags = []
    if len(plain) < FEW_IMAGES:
        flags.append(f"only {len(plain)} image{'s' * (len(plain) > 1)} scored")
    if not np.isfinite(result.reconstruction).all():
        flags.append("the attack diverged")
    return Evaluation(
        attack=attack.name,
        threat_model=attack.threat_model,
        summary=attack.summary,
        budget=1 if attack.threat_model.holds_model else result.details.get("queries", budget),
        budget_unit=attack.threat_model.budget_unit,
        n=len(plain),
        ssim=ssim,
        ssim_ci95=interval,
        psnr=float(scores.psnr.mean()),
        exact_values=float(scores.exact.mean()),
        reidentified=reidentify(result.reconstruction, plain),
        ms_ssim=None if scores.ms_ssim is None else float(scores.ms_ssim.mean()),
        st_lpips=None if scores.st_lpips is None else float(scores.st_lpips.mean()),
        guess_ssim=guess,
        beats_guessing=interval[0] > guess + GUESS_MARGIN,
        seconds=result.seconds,
        prior=target.prior,
        seed=seed,
        flags=tuple(flags),
        details=result.details,
        reconstruction=result.reconstruction,
        scored=seen,
        inverse=result.inverse,
        knowledge=target.knowledge if attack.uses_prior else "",
        ssim_exposed=float(scores.ssim[exposed].mean()),
        exposed=exposed,
    )


def _align(attack: Attack, target: Target, found: Images, plain: Images) -> Images:
    """Remove what the attack cannot know. Guesses are aligned in the same way."""
    alignment = attack.choose_alignment(target.structure, target.key_per_image)
    return found if alignment == "none" else ALIGNMENTS[alignment](found, plain)


def _score_guess(attack: Attack, target: Target, plain: Images) -> float:
    """SSIM of the best guess without ciphertexts, aligned as the attack's pictures are.

    The guess is the mean public image or its mean colour, whichever scores higher; middle grey without public
    images.
    """
    public = np.full((1, plain.shape[1], 1, 1), 0.5) if target.public is None else to_unit(target.public)
    guesses = [public.mean(axis=(0, 2, 3)).reshape(-1, 1, 1)]
    if public.shape[1:] == plain.shape[1:]:
        guesses.append(public.mean(axis=0))
    pictures = [np.broadcast_to(guess, plain.shape).astype(np.float32) for guess in guesses]
    return max(mean_similarity(_align(attack, target, picture, plain), plain) for picture in pictures)


def default_budgets(attack: Attack, total: int, key_per_image: bool = False) -> list[int]:
    """1, 10, 100, ... up to what there is, and all of it; as many queries as an attack wants."""
    most = attack.most_images(key_per_image)
    return attack.threat_model.default_budgets(total, attack.requirements.min_images, most)


def find_attack(name: str, cipher: Cipher | None, plain_shape: Shape, sealed_shape: Shape) -> Attack:
    """The attack of this name. Raises UsageError if it says nothing about the cipher and images of these shapes."""
    attack = get_attack(name)
    require_applicable(attack, cipher, plain_shape, sealed_shape)
    return attack
