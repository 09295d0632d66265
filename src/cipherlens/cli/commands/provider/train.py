"""``cipherlens train``. It needs torch, imported when the command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cipherlens.cli.console import emit, progress_bar, quiet, show_progress
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
from cipherlens.cli.options.types import IMAGES, WORK, Flag, Json, OptionalWhole, SealedSet
from cipherlens.cli.runs import open_sealed
from cipherlens.errors import UsageError

if TYPE_CHECKING:
    from cipherlens.api.training import TrainResult


def train(
    *sealed: Annotated[SealedSet, Parameter(required=True)],
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
    tracker: Annotated[str | None, Parameter(group=WORK)] = None,
    as_json: Json = False,
) -> None:
    """Train a model on a sealed data set, without the key. The same command continues an interrupted run.

    Started by torchrun or accelerate launch, several processes train together: the same run, computed faster.

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
    tracker
        Send the figures of each epoch to a tracker that is installed: tensorboard (into OUT/tracker), mlflow, ...
    """
    from cipherlens.api.training import recommend
    from cipherlens.api.training import train as run_training
    from cipherlens.training.engine.distributed import join_processes, leave_processes

    if plain and (keys.key is not None or front_end != FrontEndOptions()):
        raise UsageError("plain photos need no key and no adaptation network", hint="leave --plain away")
    if not plain and (images != ImageOptions() or hold_out is not None):
        raise UsageError("--plain takes options for images, sealed ones have theirs", hint="give them to encrypt")
    if locking.inner is not None and keys.key is None:
        raise UsageError("--inner is for locked models", hint="give the client's --key too")
    processes = join_processes()
    secret = keys.load()
    with quiet(not processes.is_main):
        data = [] if plain else [open_sealed(path, secret) for path in sealed]
    settings: dict[str, Any] = network.get_fields() | training.get_fields() | pictures.get_fields()
    settings |= {"threads": hardware.threads, "precision": hardware.precision}
    settings |= {"lock": locking.inner or (None if secret is None else "shuffled")}
    settings |= {} if plain else front_end.get_fields()
    with quiet(not processes.is_main), progress_bar("training") as bar:
        config = recommend(data or None, **settings)
        result = run_training(
            list(sealed) if plain else data,
            config,
            out=out,
            plain=plain,
            preprocess=images.prepare() if plain else None,
            hold_out=hold_out,
            key=secret,
            progress=lambda event: show_progress(event, bar),
            tracker=tracker,
        )
    if processes.is_main:
        _report(result, as_json)
    leave_processes()


def _report(result: "TrainResult", as_json: bool) -> None:
    config, kind = result.config, "test" if result.tested else "training"
    emit(
        {"out": str(result.out), "model": config.model, "cipher": result.cipher, "adapt_block": config.adapt_block}
        | result.history[-1].to_json()
        | {"train_accuracy_afterwards": result.learned},
        as_json,
        [
            f"{result.out}: {config.model} on {result.cipher} images, {kind} accuracy {result.accuracy:.2%} after "
            "the last epoch",
            *(
                []
                if result.learned is None
                else [f"accuracy on training images, as the model is used: {result.learned:.2%}"]
            ),
        ],
    )
