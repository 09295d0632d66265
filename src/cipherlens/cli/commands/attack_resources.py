"""From an attack's name and what the command line gives it to the attack: runs, networks, the victim's key."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cipherlens.attacks.base import Attack
from cipherlens.attacks.registry import ATTACKS, require_applicable
from cipherlens.ciphers.estimated_inverse import EstimatedInverse, Target
from cipherlens.cli.console import say
from cipherlens.cli.runs import check_same_scheme
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.errors import CipherlensError, UsageError
from cipherlens.keys import Key

if TYPE_CHECKING:
    from cipherlens.attacks.model.batchnorm_match import Start


@dataclass(frozen=True)
class AttackResources:
    """What an attacker is given: runs, a round's number, a public network and its weights, a start, the key."""

    run: Path | None = None
    round: int | None = None
    public: Path | None = None
    key: Key | None = None
    weights: Path | None = None
    start: "Start | None" = None


NEEDS = {
    "adaptation": ("run",),
    "locked-model": ("run", "key"),
    "folded-model": ("run", "public"),
    "chosen-plaintext": ("key",),
    "batchnorm-match": ("public",),
}
"""What attacks need besides images; other attacks need none of it."""
_OPTIONAL = {"adaptation": ("round",), "batchnorm-match": ("weights", "start")}


def choose_attack(name: str, dataset: SealedDataset, means: AttackResources) -> Attack:
    """The attack, ready to run; UsageError where it lacks something, or is given what it has no use for."""
    from cipherlens.evaluation.harness import find_attack

    needed = NEEDS.get(name, ())
    for option in ("run", "round", "public", "key", "weights", "start"):
        given = getattr(means, option) is not None
        if option in needed and not given:
            raise UsageError(f"the {name} attack needs --{option}", hint="see cipherlens attack --help")
        if given and option not in (*needed, *_OPTIONAL.get(name, ())):
            raise UsageError(f"--{option} is not for the {name} attack", hint="leave it away")
    facts = (dataset.spec.create_cipher(), dataset.spec.padded_shape, dataset.spec.ct_shape)
    if means.run is None and means.public is None:
        return find_attack(name, *facts)
    chosen = _create_match(means, dataset) if means.run is None else _create(name, dataset, means, means.run)
    require_applicable(chosen, *facts)
    return chosen


def require_map(attack: Attack, dataset: SealedDataset) -> None:
    """Raise UsageError unless the attack finds a map that all images of the data set share."""
    if not attack.finds_inverse:
        able = [name for name, known in ATTACKS.items() if known.finds_inverse]
        raise UsageError(f"{attack.name} finds no map", hint=f"--save-map is for: {', '.join(able)}")
    if dataset.spec.create_cipher().per_image:
        raise UsageError("each image has a key of its own: no map reads others", hint="leave --save-map away")


def require_found(inverse: EstimatedInverse | None) -> EstimatedInverse:
    """The map. Raises CipherlensError where the attack left some of it open."""
    if inverse is None:
        raise CipherlensError(
            "the attack has no map to write: it left some of it open, or maps of this scheme have no form",
            hint="give it more to go by, or take its pictures",
        )
    return inverse


def save_inverse(inverse: EstimatedInverse, dataset: SealedDataset, path: Path) -> None:
    """Write what an attack found, for this data set; says that it is as good as the key."""
    spec = dataset.spec
    inverse.save(path, Target.of(spec.to_json()))
    say(f"note: whoever has {path} can read the data set as well as the attack did: treat it like the key")


def _create_match(means: AttackResources, dataset: SealedDataset) -> Attack:
    """The attack with a public network."""
    from cipherlens.attacks.model.batchnorm_match import BatchNormAttack
    from cipherlens.attacks.model.networks import load_prior_network

    network, given = load_prior_network(str(means.public), means.weights, dataset.spec.padded_shape)
    return BatchNormAttack(network, given, means.start or "ciphertexts")


def _create(name: str, dataset: SealedDataset, means: AttackResources, run: Path) -> Attack:
    """An attack with a run of the provider's."""
    from cipherlens.training.run.record import read_record

    owner = dataset.spec.key_fingerprint
    provenance = read_record(run).choose_owner(owner)[0].provenance
    check_same_scheme(provenance, dataset, "give a run for this sealed data set")
    if name == "adaptation":
        from cipherlens.attacks.model.adaptation import AdaptationAttack

        return AdaptationAttack(run, means.round, owner)
    from cipherlens.attacks.model.keyed_runs import create_folded, create_locked

    if name == "locked-model":
        return create_locked(run, None if means.key is None else dataset.spec.bind(means.key))
    assert means.public is not None
    return create_folded(run, means.public)
