"""The command attack: one attack on a sealed data set. The plain images serve scoring only."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cipherlens.api.attackers import require_found
from cipherlens.attacks.base import Attack
from cipherlens.attacks.registry import PLUGINS, get_attack, list_names
from cipherlens.ciphers.estimated_inverse import EstimatedInverse, Target
from cipherlens.cli.console import emit, say
from cipherlens.cli.options.attacks import AttackerOptions, NetworkOptions
from cipherlens.cli.options.keys import GivenKey
from cipherlens.cli.options.types import Json, SealedSet
from cipherlens.cli.runs import open_sealed
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.errors import UsageError

if TYPE_CHECKING:
    from cipherlens.api.attack_report import AttackReport


def attack(
    name: str,
    sealed: SealedSet,
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
    from cipherlens.api.attacking import attack as run_attack

    if plain is None and save_map is None:
        raise UsageError("an attack needs the plain images to be scored", hint="give --plain SOURCE, or --save-map")
    if plain is None and (pictures is not None or classifier is not None):
        raise UsageError("pictures and a classifier's answers are for scored attacks", hint="give --plain SOURCE")
    secret = keys.load()
    dataset = open_sealed(sealed, secret)
    report = run_attack(
        name,
        dataset,
        plain=plain,
        public=attacker.prior,
        key=secret,
        budget=attacker.budget,
        seed=attacker.seed,
        split=attacker.split,
        resources=networks,
        classifier=classifier,
        needs_map=save_map is not None,
        max_pixels=attacker.max_pixels,
    )
    if pictures is not None:
        report.write_pictures(pictures)
    if plain is not None:
        facts = {"sealed": str(sealed), "cipher": dataset.spec.cipher}
        emit(_describe_facts(report) | facts, as_json, _describe_report(report))
    if save_map is not None:  # after the score, so that this is not lost where there is no map
        _save(require_found(report.inverse), dataset, save_map)
    if plain is None:
        seen, took = report.ciphertexts, report.seconds
        emit(
            {"map": str(save_map), "attack": report.attack, "ciphertexts": seen, "seconds": took},
            as_json,
            [f"{save_map}: map found by {report.attack} from {seen} ciphertexts in {took:.1f} s"],
        )


def _save(inverse: EstimatedInverse, dataset: SealedDataset, path: Path) -> None:
    inverse.save(path, Target.of(dataset.spec.to_json()))
    say(f"note: whoever has {path} can read the data set as well as the attack did: treat it like the key")


def _describe_facts(report: "AttackReport") -> dict[str, Any]:
    assert report.evaluation is not None
    recognition = {} if report.recognition is None else {"recognition": report.recognition}
    return report.evaluation.to_json() | recognition


def _describe_report(report: "AttackReport") -> list[str]:
    result, found = report.evaluation, report.recognition
    assert result is not None
    for flag in result.flags:
        say(f"do not rely on this figure: {flag}")
    low, high = result.ssim_ci95
    lines = [
        f"{report.attack} with {result.budget} {result.budget_unit} ({result.prior}): {result.n} images scored",
        f"SSIM {result.ssim:.3f} [{low:.3f}, {high:.3f}] (guessing {result.guess_ssim:.3f}), "
        f"PSNR {result.psnr:.1f} dB, exact pixels {result.exact_values:.1%}, {result.seconds:.1f} s",
        *([] if result.reidentified is None else [f"original found among all: {result.reidentified:.1%} of them"]),
    ]
    if found is None:
        return lines
    return [
        *lines,
        f"recognised by a plain classifier: {found['accuracy']:.1%} of {found['n']} images "
        f"(chance {found['chance']:.1%}), {found['categories']} of {found['present']} classes"
        f" (a constant answer: 1); {found['answered']} different answers",
    ]


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
