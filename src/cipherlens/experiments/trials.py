"""The trials of the leaderboard, each in a worker process: one attack on one scheme."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks import get_attack
from cipherlens.ciphers import create_cipher
from cipherlens.data.images import Preprocess
from cipherlens.data.sources.base import Source, pick_evenly
from cipherlens.data.sources.registry import open_source
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.evaluation.views import FEW_IMAGES
from cipherlens.experiments.cells import load_or_make_key
from cipherlens.experiments.entries import load_places
from cipherlens.experiments.settings import name_cipher
from cipherlens.files import canonical_json, write_atomic
from cipherlens.keys import Key

SCORED = 200
"""Images that are scored beside the known pairs, or with chosen pictures. Chosen by hand."""
_CONTROLLED = 1000
"""Images in the two controls of an attack. Chosen by hand."""


@dataclass(frozen=True)
class Trial:
    """One attack on one scheme with one key and budget; without a budget, the attack's two controls.

    ``apart``: FEW_IMAGES images, each encrypted under its own key and attacked alone.
    """

    out: Path
    cipher: dict[str, Any]
    attack: str
    seed: int
    budget: int | None
    apart: bool = False

    @property
    def path(self) -> Path:
        """File of the result."""
        size = "controls" if self.budget is None else "apart" if self.apart else f"budget{self.budget}"
        scheme = name_cipher(self.cipher).replace(" ", "-").replace("=", "")
        return self.out / "trials" / f"{scheme}-{self.attack}-{size}-key{self.seed}.json"


def read_images(source: Source, split: str, count: int) -> NDArray[np.uint8]:
    """At most ``count`` evenly spread images of a split, in random order, so that the first few are mixed."""
    chosen = np.random.default_rng(0).permutation(pick_evenly(source.splits[split], count))
    items = source.read(split, chosen.tolist())
    return np.stack([Preprocess(None).apply(item) for item in items])


_images: tuple[NDArray[np.uint8], NDArray[np.uint8]]


def start_worker(source: str, most: int, prior: int, places: tuple[str, ...] = ()) -> None:
    """Load the images that all trials of a worker share, and the classes of others that they name."""
    global _images  # noqa: PLW0603 (a worker process holds them)
    load_places(places)
    opened = open_source(source)
    _images = read_images(opened, "test", most), read_images(opened, "train", prior)


def run_trial(trial: Trial) -> None:
    """Run one trial in a worker process and write its result."""
    if trial.budget is None:
        found = _run_controls(trial, *_images)
    elif trial.apart:
        found = _attack_apart(trial, *_images)
    else:
        found = _attack(trial, trial.budget, *_images)
    result = {"scheme": name_cipher(trial.cipher)} | found
    trial.path.parent.mkdir(exist_ok=True)
    write_atomic(trial.path, canonical_json(result))


def _run_controls(trial: Trial, plain: NDArray[np.uint8], public: NDArray[np.uint8]) -> dict[str, Any]:
    target = seal_images(trial.cipher, Key.generate(), plain[: _CONTROLLED + 1], public)
    found = run_controls(get_attack(trial.attack), target, _CONTROLLED)
    return {"controls": [{"scheme": name_cipher(trial.cipher)} | asdict(control) for control in found]}


def _attack_apart(trial: Trial, plain: NDArray[np.uint8], public: NDArray[np.uint8]) -> dict[str, Any]:
    pictures = [plain[number : number + 1] for number in range(FEW_IMAGES)]
    targets = [seal_images(trial.cipher, Key.generate(), picture, public) for picture in pictures]
    together = replace(
        targets[0],
        images_apart=True,
        plain=plain[:FEW_IMAGES],
        ct=np.concatenate([target.ct for target in targets]),
        bound=None,
    )
    found = evaluate(get_attack(trial.attack), together, 1, trial.seed, runs=FEW_IMAGES)
    return found.to_json() | {"keys": FEW_IMAGES}


def _attack(trial: Trial, budget: int, plain: NDArray[np.uint8], public: NDArray[np.uint8]) -> dict[str, Any]:
    attack = get_attack(trial.attack)
    model = attack.threat_model
    count = max(budget, FEW_IMAGES) if model.sees_budget else SCORED + budget * model.knows_pairs
    key = load_or_make_key(trial.out / f"key{trial.seed}")
    target = seal_images(trial.cipher, key, plain[:count], public)
    return evaluate(attack, target, budget, trial.seed).to_json()


def seal_images(params: dict[str, Any], key: Key, plain: NDArray[np.uint8], public: NDArray[np.uint8]) -> Target:
    """Encrypt images (N, C, H, W) under ``key``, as the target of an attack that has ``public`` images."""
    cipher = create_cipher(**params)
    bound = cipher.bind(key, (int(plain.shape[1]), int(plain.shape[2]), int(plain.shape[3])))
    ct = bound.encrypt(plain, [f"test/{number}" for number in range(len(plain))])
    prior = f"{len(public)} other images of the same kind"
    return Target(cipher, plain, ct, public, prior, bound)
