"""The command attack: one attack on a sealed data set. The plain images serve scoring only."""

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cipherlens.attacks.base import Attack
from cipherlens.attacks.registry import PLUGINS, get_attack, list_names
from cipherlens.cli.commands.attack_resources import (
    AttackResources,
    choose_attack,
    require_found,
    require_map,
    save_inverse,
)
from cipherlens.cli.console import emit, say
from cipherlens.cli.options.attacks import AttackerOptions, NetworkOptions
from cipherlens.cli.options.keys import GivenKey
from cipherlens.cli.options.types import Json
from cipherlens.cli.photos import TEST
from cipherlens.cli.runs import open_sealed
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.manifest import choose_split
from cipherlens.data.sources.base import pick_evenly
from cipherlens.errors import UsageError
from cipherlens.keys import Key

if TYPE_CHECKING:
    from cipherlens.evaluation.harness import Evaluation
    from cipherlens.evaluation.target import Target


def attack(
    name: str,
    sealed: Path,
    /,
    *,
    plain: str | None = None,
    pictures: Path | None = None,
    classifier: Path | None = None,
    save_map: Path | None = None,
    attacker: AttackerOptions = AttackerOptions(),
    keys: GivenKey = GivenKey(),
    networks: NetworkOptions = NetworkOptions(),
    as_json: Json = False,
) -> None:
    """Attack a sealed data set as an eavesdropper would, and score the result against the plain images.

    No attack sees the key: it encrypts the pictures that the attacker chooses, or makes the locked model that the
    attacker uses.

    Parameters
    ----------
    name
        Ciphertexts only: covariance, correlation, value-correlation, levels, neighbours, feature-reconstruction,
        minimum-difference, jigsaw. Known pictures: known-plaintext. Chosen pictures: chosen-plaintext (--key).
        Labels: adaptation (--run). The model in hand: locked-model (--run, --key), folded-model (--run, --public).
        A public network as prior: batchnorm-match (--public). Trained for minutes, and part of an audit only where
        it names them: itn, gan (ciphertexts only), sia-gan (labels), itn-pairs (known pictures).
    sealed
        Folder made by encrypt.
    plain
        The source that was encrypted; for scoring (and for the known pairs, where the attack has them).
    pictures
        Write a PNG with rows of plain, encrypted and reconstructed images.
    classifier
        Run folder trained on plain images: also say how many reconstructions, and classes, it recognises; of the
        test images, unless --split names others.
    save_map
        Write the map that was found to this .safetensors file, for decrypt --map: of attacks that find one
        (cipherlens attacks --json says which). Whoever has it can read the data set. Without --plain nothing is
        scored: the map is of the split with most images unless --split names one, and covariance searches from
        several starts, as for train --adapt.
    """
    if plain is None and save_map is None:
        raise UsageError("an attack needs the plain images to be scored", hint="give --plain SOURCE, or --save-map")
    means = AttackResources(
        key=keys.load(), **{field.name: getattr(networks, field.name) for field in fields(networks)}
    )
    dataset = open_sealed(sealed, means.key)
    chosen = choose_attack(name, dataset, means)
    if save_map is not None:
        require_map(chosen, dataset)
    if plain is None:
        assert save_map is not None
        _find_map(chosen, dataset, attacker, save_map, as_json)
        return
    if classifier is not None and attacker.split is None and TEST in dataset.splits:
        attacker = replace(attacker, split=TEST)  # it may have been trained on the others
    target, result = _score(chosen, dataset, plain, attacker, means.key)
    if pictures is not None:
        from cipherlens.auditing.report.pictures import write_comparison

        write_comparison(pictures, target, result)
    facts = result.to_json() | {"sealed": str(sealed), "cipher": dataset.spec.cipher}
    lines = _describe_result(name, result)
    if classifier is not None:
        facts["recognition"] = recognition = _recognise(dataset, attacker.split, target, result, classifier)
        lines.append(
            f"recognised by a plain classifier: {recognition['accuracy']:.1%} of {recognition['n']} images "
            f"(chance {recognition['chance']:.1%}), {recognition['categories']} of {recognition['present']} classes"
            f" (a constant answer: 1); {recognition['answered']} different answers"
        )
    emit(facts, as_json, lines)
    if save_map is not None:  # last, so that a score is not lost where there is no map
        save_inverse(require_found(result.inverse), dataset, save_map)


def _score(
    chosen: Attack, dataset: SealedDataset, plain: str, attacker: AttackerOptions, key: Key | None
) -> "tuple[Target, Evaluation]":
    """Run the attack on as many images as it may see, and score it on those that it did not know."""
    from cipherlens.ciphers.threat_models import MAX_QUERIES
    from cipherlens.evaluation.harness import evaluate
    from cipherlens.evaluation.load import default_count, load_target

    known, asks = chosen.threat_model.knows_pairs, chosen.threat_model.chooses
    default = default_count(dataset.spec)
    least = chosen.requirements.min_images
    budget = attacker.budget
    size = budget if budget is not None else least if known else MAX_QUERIES if asks else default
    # Pairs are spent, so an attack that knows some needs other images to be scored on.
    count = size + default if known else default if asks else size
    oracle = key if asks else None
    target = load_target(dataset, plain, attacker.split, count, attacker.prior, oracle, attacker.max_pixels)
    if budget is None and not known and not asks:
        size = len(target.plain)
    return target, evaluate(chosen, target, size, attacker.seed)


def _describe_result(name: str, result: "Evaluation") -> list[str]:
    for flag in result.flags:
        say(f"do not rely on this figure: {flag}")
    low, high = result.ssim_ci95
    return [
        f"{name} with {result.budget} {result.budget_unit} ({result.prior}): {result.n} images scored",
        f"SSIM {result.ssim:.3f} [{low:.3f}, {high:.3f}] (guessing {result.guess_ssim:.3f}), "
        f"PSNR {result.psnr:.1f} dB, exact pixels {result.exact_values:.1%}, {result.seconds:.1f} s",
        *([] if result.reidentified is None else [f"original found among all: {result.reidentified:.1%} of them"]),
    ]


def _recognise(
    dataset: SealedDataset, split: str | None, target: "Target", result: "Evaluation", classifier: Path
) -> dict[str, Any]:
    from cipherlens.evaluation.recognition import check_classes, recognise

    check_classes(classifier, dataset.spec.classes)
    labels = dataset.split(split or choose_split(dataset.spec)).labels
    chosen = pick_evenly(len(labels), len(target.plain))[result.scored]
    return recognise(result.reconstruction, labels[chosen], classifier).to_json()


def _find_map(chosen: Attack, dataset: SealedDataset, attacker: AttackerOptions, path: Path, as_json: bool) -> None:
    """The eavesdropper's own case: there is nothing to be scored with."""
    from cipherlens.evaluation.load import default_count, load_view

    if chosen.threat_model.knows_pairs or chosen.threat_model.chooses:
        raise UsageError(f"the {chosen.name} attack needs the plain images", hint="give --plain SOURCE")
    size = default_count(dataset.spec) if attacker.budget is None else attacker.budget
    counts = dataset.spec.counts
    split = attacker.split or max(counts, key=lambda name: counts[name])  # nothing is scored: where most images are
    starts = chosen.count_starts(dataset.spec.structure())
    view = load_view(dataset, split, size, attacker.prior, attacker.seed, attacker.max_pixels, starts)
    if lack := chosen.missing_images(len(view.ciphertexts), view.plain_shape, view.structure.block):
        raise UsageError(f"{chosen.name} {lack}", hint="see docs/attacks.md for what attacks need")
    result = chosen.execute(view)
    save_inverse(require_found(result.inverse), dataset, path)
    seen = len(view.ciphertexts)
    emit(
        {"map": str(path), "attack": chosen.name, "ciphertexts": seen, "seconds": result.seconds},
        as_json,
        [f"{path}: map found by {chosen.name} from {seen} ciphertexts in {result.seconds:.1f} s"],
    )


def attacks(*, as_json: Json = False) -> None:
    """List the attacks, whom each stands for, and what it needs."""
    rows = {name: _describe(get_attack(name)) for name in list_names()}
    width = max(map(len, rows))
    lines = [
        f"{start:{width}}  {text}"
        for name, row in rows.items()
        for start, text in (
            (name, f"{row['summary']}"),
            ("", f"attacker: {row['attacker']}"),
            *([("", f"needs: {row['needs']}")] if row["needs"] else []),
            *([] if row["package"] == "cipherlens" else [("", f"from the package {row['package']}")]),
        )
    ]
    lines.append("With a model or a run: adaptation, batchnorm-match, locked-model, folded-model (attack --help).")
    emit(rows, as_json, lines)


def _describe(attack: Attack) -> dict[str, Any]:
    needs = attack.requirements
    words = [
        *([f"{needs.min_images} images or more"] if needs.min_images > 1 else []),
        *(["public images of the same size"] if needs.public_images else []),
        *([f"about {needs.cost_minutes:g} minutes"] if needs.cost_minutes else []),
    ]
    return {
        "threat_model": attack.threat_model.name,
        "attacker": attack.threat_model.summary,
        "summary": attack.summary,
        "needs": ", ".join(words),
        "finds_map": attack.finds_inverse,
        "package": PLUGINS.find_package(attack.name),
    }


COMMANDS = (attack, attacks)
