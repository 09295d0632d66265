"""From an attack's name and what its attacker holds to the attack: runs, networks, the victim's key."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cipherlens.api.datasets import check_same_scheme
from cipherlens.attacks.base import Attack
from cipherlens.attacks.registry import ATTACKS, require_applicable
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.errors import CipherlensError, UsageError
from cipherlens.evaluation.harness import find_attack
from cipherlens.keys import Key

if TYPE_CHECKING:
    from cipherlens.training.run.record import RunRecord


@dataclass(frozen=True, kw_only=True)
class AttackResources:
    """The run or the network that an attacker holds."""

    run: Path | None = None
    """Run folder for this sealed data. adaptation: of a classifier with an adaptation network; locked-model,
    folded-model: of the keyed model."""
    round: int | None = None
    """adaptation: use the network as it was after so many rounds."""
    public: Path | None = None
    """folded-model: run folder of the plain network that was folded. batchnorm-match: run folder of a network on
    plain images, or a timm model."""
    weights: Path | None = None
    """batchnorm-match: weights of the timm model from a local file, instead of over the network."""
    start: Literal["random", "whitened", "ciphertexts"] | None = None
    """batchnorm-match: the map that it changes: that of covariance (ciphertexts, the default), whitened blocks, or
    these behind a random rotation."""


NEEDS = {
    "adaptation": ("run",),
    "locked-model": ("run", "key"),
    "folded-model": ("run", "public"),
    "chosen-plaintext": ("key",),
    "batchnorm-match": ("public",),
}
"""What attacks need besides images; other attacks need none of it."""
_OPTIONAL = {"adaptation": ("round",), "batchnorm-match": ("weights", "start")}


def check_resources(name: str, held: AttackResources, key: Key | None) -> None:
    """Raise UsageError where an attack lacks something, or is given what it has no use for."""
    needed = NEEDS.get(name, ())
    for option in ("run", "round", "public", "key", "weights", "start"):
        given = (key if option == "key" else getattr(held, option)) is not None
        if option in needed and not given:
            raise UsageError(f"the {name} attack needs {_words(option)}", hint="name it", parameters=(option,))
        if given and option not in (*needed, *_OPTIONAL.get(name, ())):
            raise UsageError(
                f"{_words(option)} is not for the {name} attack", hint="leave it away", parameters=(option,)
            )


def _words(option: str) -> str:
    return {"key": "the client's key", "run": "a run", "public": "a public network"}.get(option, option)


def choose_attack(name: str, dataset: SealedDataset, held: AttackResources, key: Key | None) -> Attack:
    """The attack on a sealed data set, ready to run. Raises as ``check_resources``, or where it says nothing."""
    check_resources(name, held, key)
    facts = (dataset.spec.create_cipher(), dataset.spec.padded_shape, dataset.spec.ct_shape)
    if held.run is None and held.public is None:
        return find_attack(name, *facts)
    chosen = _create_match(held, dataset) if held.run is None else _create(name, dataset, held, held.run, key)
    require_applicable(chosen, *facts)
    return chosen


def require_map(attack: Attack, per_image: bool) -> None:
    """Raise UsageError unless the attack finds a map that all images share."""
    if not attack.finds_inverse:
        able = [name for name, known in ATTACKS.items() if known.finds_inverse]
        raise UsageError(f"{attack.name} finds no map", hint=f"attacks that do: {', '.join(able)}")
    if per_image:
        raise UsageError(
            "each image has a key of its own: no map reads others", hint="ask for none", parameters=("save_map",)
        )


def require_found(inverse: EstimatedInverse | None) -> EstimatedInverse:
    """The map. Raises CipherlensError where the attack left some of it open."""
    if inverse is None:
        raise CipherlensError(
            "the attack has no map to write: it left some of it open, or maps of this scheme have no form",
            hint="give it more to go by, or take its pictures",
        )
    return inverse


def _create_match(held: AttackResources, dataset: SealedDataset) -> Attack:
    """The attack with a public network."""
    from cipherlens.attacks.model.batchnorm_match import BatchNormAttack
    from cipherlens.attacks.model.networks import load_prior_network

    network, given = load_prior_network(str(held.public), held.weights, dataset.spec.padded_shape)
    return BatchNormAttack(network, given, held.start or "ciphertexts")


def _create(name: str, dataset: SealedDataset, held: AttackResources, run: Path, key: Key | None) -> Attack:
    """An attack with a run of the provider's."""
    from cipherlens.training.run.record import read_record

    owner = dataset.spec.key_fingerprint
    record: RunRecord = read_record(run).choose_owner(owner)[0]
    check_same_scheme(record.provenance, dataset, "give a run for this sealed data set")
    if name == "adaptation":
        from cipherlens.attacks.model.adaptation import AdaptationAttack

        return AdaptationAttack(run, held.round, owner)
    from cipherlens.attacks.model.keyed_runs import create_folded, create_locked

    if name == "locked-model":
        return create_locked(run, None if key is None else dataset.spec.bind(key))
    assert held.public is not None
    return create_folded(run, held.public)
