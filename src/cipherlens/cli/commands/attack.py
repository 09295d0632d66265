"""The command attack: one attack on a sealed data set. The plain images serve scoring only."""

from pathlib import Path
from typing import Any, Literal

from cipherlens.attacks.base import Attack
from cipherlens.attacks.registry import PLUGINS, get_attack, list_names
from cipherlens.cli.commands.attack_resources import (
    AttackResources,
    choose_attack,
    require_found,
    require_map,
    save_inverse,
)
from cipherlens.cli.console import (
    Json,
    MaxPixels,
    OptionalKeyFile,
    OptionalWhole,
    PassphraseFile,
    Whole,
    emit,
    load_key,
    say,
)
from cipherlens.cli.runs import open_sealed
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.manifest import choose_split
from cipherlens.data.sources.base import pick_evenly
from cipherlens.errors import UsageError

_DEFAULT_VALUES = 20_000_000
"""An attack's default budget is at most so many ciphertext values: about 1,000 images of 32x32, 130 of 224x224."""
_MAX_BUDGET = 1_000


def attack(
    name: str,
    sealed: Path,
    *,
    plain: str | None = None,
    prior: str = "plain",
    split: str | None = None,
    budget: OptionalWhole = None,
    seed: Whole = 0,
    pictures: Path | None = None,
    key: OptionalKeyFile = None,
    passphrase_file: PassphraseFile = None,
    run: Path | None = None,
    round: OptionalWhole = None,
    public: Path | None = None,
    weights: Path | None = None,
    start: Literal["random", "whitened", "ciphertexts"] | None = None,
    classifier: Path | None = None,
    save_map: Path | None = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    as_json: Json = False,
) -> None:
    """Attack a sealed data set as an eavesdropper would, and score the result against the plain images.

    Parameters
    ----------
    name
        Ciphertext only: covariance, correlation, value-correlation, levels, neighbours, feature-reconstruction,
        minimum-difference, jigsaw. Known pictures: known-plaintext. Chosen pictures:
        chosen-plaintext (--key). Labels: adaptation (--run). The model in hand: locked-model (--run, --key),
        folded-model (--run, --public). A public network as prior: batchnorm-match (--public). Networks trained for
        minutes, part of an audit only where it names them: itn, gan (ciphertexts only), sia-gan (labels), itn-pairs
        (known pictures).
    sealed
        Folder made by encrypt.
    plain
        The source that was encrypted; for scoring (and for the known pairs, where the attack has them).
    prior
        Public images the attacker has: "plain" for other images of the same source, never the attacked
        ones; "parametric" for none; or any source.
    budget
        Ciphertexts the attacker sees, pairs it knows, or pictures it may have encrypted.
    key
        The client's key. It encrypts the pictures that the attacker chooses, or makes the locked model that the
        attacker uses; no attack sees it.
    pictures
        Write a PNG with rows of plain, encrypted and reconstructed images.
    run
        Run folder for this sealed data. adaptation: of a classifier with an adaptation network; locked-model,
        folded-model: of the keyed model.
    round
        adaptation: use the network as it was after so many rounds.
    public
        folded-model: run folder of the plain network that was folded. batchnorm-match: run folder of a network
        on plain images, or a timm model.
    weights
        batchnorm-match: weights of the timm model from a local file, instead of over the network.
    start
        batchnorm-match: the map that it changes: that of covariance (ciphertexts, the default), whitened blocks, or
        these behind a random rotation.
    classifier
        Run folder trained on plain images: also say how many reconstructions, and classes, it recognises.
    save_map
        Write the map that was found to this .safetensors file, for decrypt --map: of attacks that find one
        (cipherlens attacks --json says which). Whoever has it can read the data set. Without --plain nothing is
        scored: the map is of the split with most images unless --split names one, and covariance searches from
        several starts, as for train --adapt.
    """
    from cipherlens.ciphers.threat_models import MAX_QUERIES
    from cipherlens.evaluation.harness import evaluate
    from cipherlens.evaluation.load import load_target

    if plain is None and save_map is None:
        raise UsageError("an attack needs the plain images to be scored", hint="give --plain SOURCE, or --save-map")
    means = AttackResources(
        run, round, public, None if key is None else load_key(key, passphrase_file), weights, start
    )
    dataset = open_sealed(sealed, means.key)
    chosen = choose_attack(name, dataset, means)
    if save_map is not None:
        require_map(chosen, dataset)
    if plain is None:
        assert save_map is not None
        if chosen.threat_model.knows_pairs or chosen.threat_model.chooses:
            raise UsageError(f"the {name} attack needs the plain images", hint="give --plain SOURCE")
        _find_map(chosen, dataset, prior, split, budget, seed, save_map, max_pixels, as_json)
        return
    known, asks = chosen.threat_model.knows_pairs, chosen.threat_model.chooses
    if budget is not None and budget < 1:
        raise UsageError("a budget is at least 1")
    default = default_count(dataset)
    least = chosen.requirements.min_images
    size = budget if budget is not None else least if known else MAX_QUERIES if asks else default
    # Pairs are spent, so an attack that knows some needs other images to be scored on.
    count = size + default if known else default if asks else size
    target = load_target(dataset, plain, split, count, prior, means.key if asks else None, max_pixels)
    if budget is None and not known and not asks:
        size = len(target.plain)
    result = evaluate(chosen, target, size, seed)
    if pictures is not None:
        from cipherlens.auditing.report.pictures import write_comparison

        write_comparison(pictures, target, result)
    facts = result.to_json() | {"sealed": str(sealed), "cipher": dataset.spec.cipher}
    recognised = []
    if classifier is not None:
        recognition = _recognise(dataset, split, target, result, classifier)
        facts["recognition"] = recognition
        recognised = [
            f"recognised by a plain classifier: {recognition['accuracy']:.1%} of {recognition['n']} images "
            f"(chance {recognition['chance']:.1%}), {recognition['categories']} of {recognition['present']} classes"
            f" (a constant answer: 1); {recognition['answered']} different answers"
        ]
    for flag in result.flags:
        say(f"do not rely on this figure: {flag}")
    low, high = result.ssim_ci95
    lines = [
        f"{name} with {result.budget} {result.budget_unit} ({result.prior}): {result.n} images scored",
        f"SSIM {result.ssim:.3f} [{low:.3f}, {high:.3f}] (guessing {result.guess_ssim:.3f}), "
        f"PSNR {result.psnr:.1f} dB, exact pixels {result.exact_values:.1%}, {result.seconds:.1f} s",
        *([] if result.reidentified is None else [f"original found among all: {result.reidentified:.1%} of them"]),
        *recognised,
    ]
    emit(facts, as_json, lines)
    if save_map is not None:  # last, so that a score is not lost where there is no map
        save_inverse(require_found(result.inverse), dataset, save_map)


def _recognise(
    dataset: SealedDataset, split: str | None, target: Any, result: Any, classifier: Path
) -> dict[str, Any]:
    from cipherlens.evaluation.recognition import check_classes, recognise

    check_classes(classifier, dataset.spec.classes)
    labels = dataset.split(split or choose_split(dataset.spec)).labels
    chosen = pick_evenly(len(labels), len(target.plain))[result.scored]
    return recognise(result.reconstruction, labels[chosen], classifier).to_json()


def _find_map(
    chosen: Attack,
    dataset: SealedDataset,
    prior: str,
    split: str | None,
    budget: int | None,
    seed: int,
    path: Path,
    max_pixels: int,
    as_json: bool,
) -> None:
    """The eavesdropper's own case: there is nothing to be scored with."""
    from cipherlens.api.front_end import count_starts
    from cipherlens.evaluation.load import load_view

    size = default_count(dataset) if budget is None else budget
    counts = dataset.spec.counts
    seen_split = split or max(counts, key=lambda name: counts[name])  # nothing is scored: where most images are
    view = load_view(dataset, seen_split, size, prior, seed, max_pixels, count_starts(dataset.spec))
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


def default_count(dataset: SealedDataset) -> int:
    """How many ciphertexts attacks look at where nobody says."""
    channels, height, width = dataset.spec.ct_shape
    return max(1, min(_MAX_BUDGET, _DEFAULT_VALUES // (channels * height * width)))


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
