"""``cipherlens train``. It needs torch, imported when the command runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cipherlens.ciphers import BoundCipher
from cipherlens.cli.commands.adapt import choose_start, find_maps, say_can_decrypt
from cipherlens.cli.console import emit, progress_bar, show_progress
from cipherlens.cli.options.images import ImageOptions
from cipherlens.cli.options.keys import GivenKey
from cipherlens.cli.options.training import (
    FrontEndOptions,
    HardwareOptions,
    LockOptions,
    ModelOptions,
    PictureOptions,
    TrainingOptions,
)
from cipherlens.cli.options.types import IMAGES, Flag, Json, OptionalWhole
from cipherlens.cli.photos import TEST, Material, measure_training, read_photos, say_if_few, say_remarks
from cipherlens.cli.runs import open_sealed
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.manifest import PLAIN
from cipherlens.data.sources.augmented import TRAIN
from cipherlens.errors import UsageError
from cipherlens.keys import Key

if TYPE_CHECKING:
    from cipherlens.training.config import TrainConfig


@dataclass(frozen=True)
class Sealed:
    """Sealed data sets, their split for training, and the cipher that a model is locked to."""

    datasets: tuple[SealedDataset, ...]
    split: str
    bound: BoundCipher | None


def train(
    *sealed: Annotated[Path, Parameter(required=True)],
    out: Path,
    plain: Flag = False,
    hold_out: Annotated[OptionalWhole, Parameter(group=IMAGES)] = None,
    keys: GivenKey = GivenKey(),
    images: ImageOptions = ImageOptions(),
    network: ModelOptions = ModelOptions(),
    training: TrainingOptions = TrainingOptions(),
    pictures: PictureOptions = PictureOptions(),
    front_end: FrontEndOptions = FrontEndOptions(),
    locking: LockOptions = LockOptions(),
    hardware: HardwareOptions = HardwareOptions(),
    as_json: Json = False,
) -> None:
    """Train a model on a sealed data set, without the key. The same command continues an interrupted run.

    With --key, given by the client's consent, the model is locked: on pixel-permutation images it learns what the
    plain model learns on plain ones. Whoever runs this command can read the key.

    Parameters
    ----------
    sealed
        Folder made by encrypt, with a train split (or only one split). Several: images of the same classes under
        different keys, or schemes; each key gets an adaptation network of its own, all share the model.
    out
        Run folder.
    plain
        Train on plain photos, for lock and fold: SEALED is one source, as encrypt takes it. The options for images
        are for this.
    hold_out
        As of encrypt.
    """
    from cipherlens.training.fit import fit
    from cipherlens.training.recipes import choose_norm_images

    if plain:
        if keys.key is not None or front_end != FrontEndOptions():
            raise UsageError("plain photos need no key and no adaptation network", hint="leave --plain away")
        given = Sealed((), TRAIN, None)
    else:
        if images != ImageOptions() or hold_out is not None:
            raise UsageError(
                "--plain takes options for images, sealed ones have theirs", hint="give them to encrypt"
            )
        given = _open(sealed, keys.load())
    if locking.inner is not None and given.bound is None:
        raise UsageError("--inner is for locked models", hint="give the client's --key too")
    config = _configure(given, network, training, pictures, front_end, locking, hardware)
    material = read_photos(sealed, images.prepare(), hold_out) if plain else _collect(given, config)
    say_if_few(material)
    norm_images = choose_norm_images(len(material.train_set), config.batch_size, config.epochs)
    config = replace(config, norm_images=norm_images)
    if config.can_decrypt:
        say_can_decrypt(out)
    with progress_bar("training") as bar:
        result = fit(
            config,
            material.train_set,
            material.test_set,
            out,
            material.provenance,
            lambda event: show_progress(event, bar),
            given.bound,
            lambda: find_maps(given.datasets, given.split, config.public, config.seed),
            material.owners,
        )
    say_remarks(getattr(material.train_set, "remarks", {}))
    _report(config, material, result.last.to_json(), measure_training(out, material, given.bound), out, as_json)


def _open(sealed: Sequence[Path], secret: Key | None) -> Sealed:
    datasets = tuple(open_sealed(path, secret) for path in sealed)
    names = list(datasets[0].splits)
    bound = None if secret is None else _bind_to_lock(datasets[0], secret)
    return Sealed(datasets, TRAIN if TRAIN in names else names[0], bound)


def _configure(
    given: Sealed,
    network: ModelOptions,
    training: TrainingOptions,
    pictures: PictureOptions,
    front_end: FrontEndOptions,
    locking: LockOptions,
    hardware: HardwareOptions,
) -> "TrainConfig":
    """What was asked for, completed by the model's recipe."""
    from cipherlens.training.config import READING, TrainConfig
    from cipherlens.training.recipes import recommend

    if given.datasets:
        beginning = choose_start(given.datasets, given.split, front_end, given.bound is not None)
    else:
        beginning = {"start": "random"}
    seen = not given.datasets or given.datasets[0].spec.cipher == PLAIN or beginning["start"] in READING
    fixed, asked = training.split_fields()
    recipe = recommend(network.model, seen and given.bound is None) if training.optimizer == "sgd" else {}
    fields: dict[str, Any] = {
        "threads": hardware.threads,
        "precision": hardware.precision,
        "warm_up": front_end.warm_up,
        "public": front_end.public,
        "adapt_lr": front_end.adapt_lr,
        "lock": None if given.bound is None else locking.inner or "shuffled",
    }
    chosen = recipe | asked | pictures.get_fields()
    return TrainConfig(**network.get_fields(), **fixed, **fields, **beginning, **chosen)


def _report(
    config: "TrainConfig",
    material: Material,
    last: dict[str, Any],
    learned: float | None,
    out: Path,
    as_json: bool,
) -> None:
    accuracy = next(x for x in (last["test_accuracy"], learned, last["train_accuracy"]) if x is not None)
    kind, cipher = "test" if material.test_set is not None else "training", material.provenance["cipher"]
    emit(
        {"out": str(out), "model": config.model, "cipher": cipher, "adapt_block": config.adapt_block, **last}
        | {"train_accuracy_afterwards": learned},
        as_json,
        [
            f"{out}: {config.model} on {cipher} images, {kind} accuracy {accuracy:.2%} after the last epoch",
            *([] if learned is None else [f"accuracy on training images, as the model is used: {learned:.2%}"]),
        ],
    )


def _collect(given: Sealed, config: "TrainConfig") -> Material:
    """The sets of one owner, or of several; each of these needs an adaptation network of its own."""
    dataset, split = given.datasets[0], given.split
    provenance = dataset.spec.to_json()
    if len(given.datasets) == 1:
        tested = dataset.split(TEST) if TEST in dataset.splits and split != TEST else None
        return Material(dataset.split(split), tested, provenance)
    from cipherlens.api.joint import join

    if config.adapt_block is None or config.lock is not None or config.inverse is not None:
        raise UsageError(
            "several data sets share a model only through adaptation networks, one for each key",
            hint="give --adapt, and neither --key nor --front-end",
        )
    train_set, test_set, owners = join(given.datasets, split, config.normalize)
    if config.start == "random" and any(owner.adaptation == "positions" for owner in owners):
        raise UsageError(
            "a pixel permutation cannot be learned from random numbers", hint="use --start ciphertexts"
        )
    return Material(train_set, test_set, provenance, owners)


def _bind_to_lock(dataset: SealedDataset, key: Key) -> BoundCipher:
    if dataset.spec.cipher != "pixel-permutation":
        raise UsageError(
            f"a model is locked to pixel-permutation images, these are {dataset.spec.cipher}",
            hint="train without --key, or encrypt with --cipher pixel-permutation",
        )
    return dataset.spec.bind(key)


COMMANDS = (train,)
