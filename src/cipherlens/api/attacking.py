"""``cl.attack``: one attack on ciphertexts, scored where the plain images are given."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.api.attackers import AttackResources, check_resources, choose_attack, require_map
from cipherlens.api.datasets import Sealed, open_dataset
from cipherlens.api.photos import TEST
from cipherlens.attacks.base import Attack, Images, View, to_unit
from cipherlens.ciphers import Cipher
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.ciphers.threat_models import MAX_QUERIES
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.manifest import choose_split
from cipherlens.data.sources.base import pick_evenly
from cipherlens.errors import ShapeError, UsageError
from cipherlens.evaluation.harness import Evaluation, evaluate, find_attack
from cipherlens.evaluation.load import NO_IMAGES, PARAMETRIC, default_count, load_target, load_view
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key

Array = Any
"""Images (N, C, H, W), or one (C, H, W), uint8 or float in [0, 1]; NumPy, or what NumPy can read."""


@dataclass(frozen=True, eq=False)
class AttackReport:
    """What one attack read.

    ``reconstruction`` is (n, C, H, W) float32, nominally in [0, 1]; ``numbers`` (n,) are the positions of its
    images among those attacked. ``inverse`` reads further ciphertexts under the same key (None: the attack finds no
    such map). ``ciphertexts`` is the number of images that it saw. ``evaluation`` holds all scores; None without
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
class _Terms:
    """What an attacker has and may spend."""

    public: Array | str | None
    key: Key | None
    budget: int | None
    seed: int
    starts: int | None


def attack(
    name: str,
    images: Array | Sealed,
    *,
    cipher: Cipher | None = None,
    plain: Array | str | Path | None = None,
    public: Array | str | None = None,
    key: Key | None = None,
    budget: int | None = None,
    seed: int = 0,
    starts: int | None = None,
    split: str | None = None,
    resources: AttackResources | None = None,
    classifier: str | Path | None = None,
    needs_map: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> AttackReport:
    """Attack images as an eavesdropper would; with ``plain`` the result is scored.

    ``images`` are ciphertexts (N, C, H, W) of a ``cipher`` (None: nobody declared it), or a sealed data set or its
    folder, which knows its cipher. ``plain`` are their originals, or the source that was sealed. The attack sees
    them only where its threat model gives it known pairs. ``public`` are photos that the attacker has: an array, a
    source, or "plain" for other images of the plain source (None: no photos). With the client's ``key`` an attacker
    can have chosen pictures encrypted. ``budget`` is the number of ciphertexts seen, of known pairs, or of chosen
    pictures. ``starts`` is the number of starts of a search: by default one, or as many as it is worth where
    nothing is scored. ``needs_map`` refuses at once an attack that finds no ``inverse``.

    For sealed data sets alone: the ``split``, by default that with the test images; ``resources``, the run or the
    network that an attacker holds; ``classifier``, a run on plain images, which is asked what it recognises in the
    reconstruction (of the test images, which it was not trained on).

    Raises UsageError for an unknown attack, or one that cannot run on this; ShapeError for arrays that do not fit.
    """
    held = resources or AttackResources()
    terms = _Terms(public, key, budget, seed, starts)
    if not isinstance(images, SealedDataset | str | Path):
        if split is not None or classifier is not None or held != AttackResources():
            raise UsageError("a split, runs and networks are for sealed data sets", hint="leave them away")
        return _attack_arrays(name, _to_batch(images), cipher, plain, terms, needs_map)
    dataset = open_dataset(images, key)
    chosen = choose_attack(name, dataset, held, key)
    if needs_map:
        require_map(chosen, dataset.spec.create_cipher().per_image)
    prior = PARAMETRIC if public is None else public
    if not isinstance(prior, str) or not (plain is None or isinstance(plain, str | Path)) or cipher is not None:
        raise UsageError(
            "a sealed data set knows its cipher, and its originals and public photos are sources",
            hint="name them, or attack an array of ciphertexts",
        )
    if plain is None:
        return _read(chosen, _view(chosen, dataset, split, prior, terms, max_pixels), terms)
    if classifier is not None and split is None and TEST in dataset.splits:
        split = TEST  # it may have been trained on the others
    count = _count(chosen, dataset, budget)
    oracle = key if chosen.threat_model.chooses else None
    report = _score(chosen, load_target(dataset, str(plain), split, count, prior, oracle, max_pixels), terms)
    if classifier is None:
        return report
    return replace(report, recognition=_recognise(report, dataset, split, Path(classifier)))


def _attack_arrays(
    name: str, ct: NDArray[Any], cipher: Cipher | None, plain: Array, terms: _Terms, needs_map: bool
) -> AttackReport:
    check_resources(name, AttackResources(), terms.key)
    if isinstance(plain, str | Path) or isinstance(terms.public, str):
        raise UsageError("beside an array of ciphertexts, originals and public photos are arrays", hint="load them")
    originals = None if plain is None else _to_batch(plain)
    photos = None if terms.public is None else _to_batch(terms.public)
    _, *shape = ct.shape if originals is None else originals.shape
    plain_shape = (int(shape[0]), int(shape[1]), int(shape[2]))
    chosen, per_image = (
        find_attack(name, cipher, plain_shape, ct.shape[1:]),
        cipher is not None and cipher.per_image,
    )
    if needs_map:
        require_map(chosen, per_image)
    if originals is None:
        prior = None if photos is None else to_unit(photos)
        view = View(cipher, to_unit(ct), prior, seed=terms.seed, shape=plain_shape, key_per_image=per_image)
        return _read(chosen, view, terms)
    if len(originals) != len(ct):
        raise ShapeError(f"{len(ct)} ciphertexts and {len(originals)} plain images", hint="give as many of each")
    bound = None if terms.key is None or cipher is None else cipher.bind(terms.key, plain_shape)
    prior_words = NO_IMAGES if photos is None else f"{len(photos)} given images"
    return _score(chosen, Target(cipher, originals, ct, photos, prior_words, bound), terms)


def _to_batch(images: Array) -> NDArray[Any]:
    """(N, C, H, W) as a NumPy array. Raises ShapeError for anything but images."""
    array = np.asarray(images)
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or not (array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)):
        raise ShapeError(
            f"images of shape {array.shape} and dtype {array.dtype}",
            hint="pass uint8, or floats in [0, 1], of shape (N, C, H, W)",
        )
    return array


def _count(chosen: Attack, dataset: SealedDataset, budget: int | None) -> int:
    """How many images are looked at. Pairs are spent, so an attack that knows some is scored on others."""
    default, model = default_count(dataset.spec), chosen.threat_model
    if model.chooses:
        return default
    if model.knows_pairs:
        return (budget or chosen.requirements.min_images) + default
    return budget or default


def _score(chosen: Attack, target: Target, terms: _Terms) -> AttackReport:
    """Run the attack on as many images as it may see, and score it on those that it did not know."""
    model = chosen.threat_model
    whole = (
        chosen.requirements.min_images if model.knows_pairs else MAX_QUERIES if model.chooses else len(target.plain)
    )
    result = evaluate(
        chosen, target, whole if terms.budget is None else terms.budget, terms.seed, starts=terms.starts or 1
    )
    return AttackReport(
        chosen.name,
        result.reconstruction,
        result.scored,
        len(target.plain),
        result.seconds,
        result.details,
        result.inverse,
        result,
        target,
    )


def _view(
    chosen: Attack, dataset: SealedDataset, split: str | None, prior: str, terms: _Terms, max_pixels: int
) -> View:
    """The eavesdropper's own case: nothing is scored, so the split is that with most images."""
    counts = dataset.spec.counts
    size = default_count(dataset.spec) if terms.budget is None else terms.budget
    return load_view(
        dataset, split or max(counts, key=lambda name: counts[name]), size, prior, terms.seed, max_pixels
    )


def _read(chosen: Attack, view: View, terms: _Terms) -> AttackReport:
    """Run an attack that nobody scores."""
    if chosen.threat_model.knows_pairs or chosen.threat_model.chooses:
        raise UsageError(
            f"the {chosen.name} attack needs the plain images", hint="give them", parameters=("plain",)
        )
    if lack := chosen.missing_images(len(view.ciphertexts), view.plain_shape, view.structure.block):
        raise UsageError(f"{chosen.name} {lack}", hint="see docs/attacks.md for what attacks need")
    result = chosen.execute(replace(view, starts=terms.starts or chosen.count_starts(view.structure)))
    seen = len(view.ciphertexts)
    return AttackReport(
        *(chosen.name, result.reconstruction, np.arange(seen), seen, result.seconds, result.details, result.inverse)
    )


def _recognise(report: AttackReport, dataset: SealedDataset, split: str | None, classifier: Path) -> dict[str, Any]:
    from cipherlens.evaluation.recognition import check_classes, recognise

    assert report.target is not None
    check_classes(classifier, dataset.spec.classes)
    labels = dataset.split(split or choose_split(dataset.spec)).labels
    chosen = pick_evenly(len(labels), len(report.target.plain))[report.numbers]
    return recognise(report.reconstruction, labels[chosen], classifier).to_json()
