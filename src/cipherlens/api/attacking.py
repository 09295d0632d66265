"""``cl.attack``: one attack on ciphertexts, scored where the plain images are given."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from cipherlens.api.arrays import Array, attack_arrays
from cipherlens.api.attack_report import AttackReport, Terms, read_blind, require_blind, score
from cipherlens.api.attackers import AttackResources, choose_attack, require_map
from cipherlens.api.datasets import Sealed, open_dataset
from cipherlens.api.photos import TEST
from cipherlens.attacks.base import Attack
from cipherlens.ciphers import Cipher
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.spec import choose_split
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.storage.url import Place
from cipherlens.errors import UsageError
from cipherlens.evaluation.load import PARAMETRIC, default_count, load_target, load_view
from cipherlens.evaluation.recognition import check_classes, recognise
from cipherlens.keys import Key


def attack(
    name: str,
    images: Array | Sealed,
    *,
    cipher: Cipher | None = None,
    plain: Array | str | Path | None = None,
    public: Array | str | Path | None = None,
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
    pictures. ``starts`` is the number of starts of a search. By default it is one, or as many as it is worth where
    nothing is scored. ``needs_map`` refuses at once an attack that finds no ``inverse``.

    For sealed data sets alone: ``split``, by default the test images, or the largest where test images were held
    out or nothing is scored. ``resources``: the run or the network that an attacker holds. ``classifier``: a run on
    plain images, which is asked what it recognises in the reconstruction of the test images.

    Raises UsageError for an unknown attack, or one that cannot run on this; ShapeError for arrays that do not fit;
    KeyFailureError for a key with which the ciphertexts were not made.
    """
    for given, value in (("budget", budget), ("starts", starts)):
        if value is not None and value < 1:
            raise UsageError(f"{given} is at least 1", hint="leave it away for the default", parameters=(given,))
    held, terms = resources or AttackResources(), Terms(public, key, budget, seed, starts)
    if isinstance(images, SealedDataset | str | Place):
        if cipher is not None or not _is_source(plain) or not _is_source(public):
            raise UsageError(
                "a sealed data set knows its cipher, and its originals and public photos are sources",
                hint="name them, or attack an array of ciphertexts",
            )
        dataset = open_dataset(images, key)
        chosen = choose_attack(name, dataset, held, key)
        if needs_map:
            require_map(chosen, dataset.spec.create_cipher().per_image)
        return _attack_dataset(chosen, dataset, plain, terms, split, classifier, max_pixels)
    if split is not None or classifier is not None or held != AttackResources():
        raise UsageError("a split, runs and networks are for sealed data sets", hint="leave them away")
    if isinstance(plain, str | Path) or isinstance(public, str | Path):
        raise UsageError("beside an array of ciphertexts, originals and public photos are arrays", hint="load them")
    return attack_arrays(name, images, cipher, plain, terms, needs_map)


def _is_source(given: object) -> bool:
    return given is None or isinstance(given, str | Path)


def _attack_dataset(
    chosen: Attack,
    dataset: SealedDataset,
    plain: str | Path | None,
    terms: Terms,
    split: str | None,
    classifier: str | Path | None,
    max_pixels: int,
) -> AttackReport:
    prior = PARAMETRIC if terms.public is None else str(terms.public)
    if plain is None:
        require_blind(chosen)
        counts = dataset.spec.counts
        largest = max(counts, key=lambda name: counts[name])  # the eavesdropper's own case
        size = default_count(dataset.spec) if terms.budget is None else terms.budget
        return read_blind(chosen, load_view(dataset, split or largest, size, prior, terms.seed, max_pixels), terms)
    if classifier is not None:
        check_classes(Path(classifier), dataset.spec.classes)
        if split is None and TEST in dataset.splits:
            split = TEST  # it may have been trained on the others
    count = _count(chosen, dataset, terms.budget)
    oracle = terms.key if chosen.threat_model.chooses else None
    report = score(chosen, load_target(dataset, str(plain), split, count, prior, oracle, max_pixels), terms)
    if classifier is None:
        return report
    return replace(report, recognition=_recognise(report, dataset, split, Path(classifier)))


def _count(chosen: Attack, dataset: SealedDataset, budget: int | None) -> int:
    """How many images are looked at. Pairs are spent, so an attack that knows some is scored on others."""
    default, model = default_count(dataset.spec), chosen.threat_model
    if model.chooses:
        return default
    if model.knows_pairs:
        return (budget or chosen.requirements.min_images) + default
    return budget or default


def _recognise(report: AttackReport, dataset: SealedDataset, split: str | None, classifier: Path) -> dict[str, Any]:
    assert report.target is not None
    labels = dataset.split(split or choose_split(dataset.spec)).labels
    chosen = pick_evenly(len(labels), len(report.target.plain))[report.numbers]
    return recognise(report.reconstruction, labels[chosen], classifier).to_json()
