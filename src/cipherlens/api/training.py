"""``cl.train`` and ``cl.recommend``: from sealed data sets, or plain photos, to a run folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cipherlens.api.datasets import Sealed, bind_lock, choose_train_split, open_dataset
from cipherlens.api.joint import join
from cipherlens.api.photos import TEST, Material, measure_training, note_if_few, note_remarks, read_photos
from cipherlens.api.start import Wish, choose_start, find_maps, note_can_decrypt
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.spec import PLAIN
from cipherlens.data.storage.url import Place
from cipherlens.errors import UsageError
from cipherlens.keys import Key
from cipherlens.training.config import READING, TrainConfig
from cipherlens.training.engine.distributed import join_processes
from cipherlens.training.engine.metrics import EpochMetrics, Progress
from cipherlens.training.fit import FitResult, fit
from cipherlens.training.recipes import choose_norm_images
from cipherlens.training.recipes import recommend as get_recipe
from cipherlens.training.tracking import track

Data = Sealed | Sequence[Sealed]


@dataclass(frozen=True)
class TrainResult:
    """A finished training. ``learned``: accuracy on at most 1,000 training images, as the model is used."""

    config: TrainConfig
    fit: FitResult
    cipher: str
    tested: bool
    learned: float | None

    @property
    def out(self) -> Path:
        """The run folder."""
        return self.fit.out

    @property
    def history(self) -> tuple[EpochMetrics, ...]:
        """All epochs."""
        return self.fit.history

    @property
    def accuracy(self) -> float:
        """Test accuracy after the last epoch; without test images that on training images."""
        last = self.fit.last
        found = last.train_accuracy if self.learned is None else self.learned
        return found if last.test_accuracy is None else last.test_accuracy


def recommend(
    data: Data | None = None,
    model: str = "preresnet20",
    *,
    adapt: bool = False,
    adapt_block: int | None = None,
    start: str | None = None,
    **settings: Any,
) -> TrainConfig:
    """Settings for a data set: the model's recipe, the cipher's block, and the best start of a front end.

    ``data`` as for ``train``, None for plain photos. ``adapt`` puts the adaptation network with the cipher's block
    before the model, ``adapt_block`` one with another block. Where an attack can read the images it starts from the
    map that this finds, unless ``start`` says otherwise. ``settings`` are further fields of TrainConfig. With
    ``lock`` the model sees shuffled pixels, so a recipe changes no pictures.

    Raises UsageError for settings that contradict each other, or for what the data set does not allow.
    """
    datasets = _open_all(data, None)
    block = 0 if adapt and adapt_block is None else adapt_block
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    network = {name: settings.pop(name) for name in ("adaptation", "inverse", "legacy_padding") if name in settings}
    locked = settings.get("lock") is not None
    beginning: dict[str, Any] = {"start": "random"}
    if datasets:
        wish = Wish(block, start=start, locked=locked, **network)
        beginning = choose_start(datasets, choose_train_split(datasets[0]), wish)
    elif block is not None or start is not None or network:
        raise UsageError("plain photos need no adaptation network", hint="leave it away", parameters=("adapt",))
    seen = not datasets or datasets[0].spec.cipher == PLAIN or beginning["start"] in READING
    own = get_recipe(model, seen and not locked) if settings.get("optimizer", "sgd") == "sgd" else {}
    return TrainConfig(model=model, **own | beginning | settings)


def train(
    data: Data,
    config: TrainConfig | None = None,
    *,
    out: str | Path = "run",
    plain: bool = False,
    preprocess: Preprocess | None = None,
    hold_out: int | None = None,
    key: Key | None = None,
    progress: Callable[[Progress], None] | None = None,
    callbacks: Sequence[Callable[[Progress], None]] = (),
    tracker: str | None = None,
) -> TrainResult:
    """Train a model into the run folder ``out``; the same call continues an interrupted training.

    ``data`` is a sealed data set (or its folder), or several of the same classes under different keys, each of
    which gets an adaptation network of its own. ``config`` is by default what ``recommend`` says, with adaptation
    networks for several. Where its steps are few, ``norm_images`` are chosen. With the client's ``key`` the model
    is locked to it (``config.lock``), and whoever calls this can read the key.

    ``progress`` and ``callbacks`` are called meanwhile, some hundred times per epoch, with ``metrics`` at its end.
    An exception from one ends the call. ``tracker`` names a tracker of accelerate (tensorboard, mlflow, ...).

    With ``plain`` the data is a source of photos. They are decoded as ``preprocess`` says. Every ``hold_out``-th of
    each class is for testing (None: every fifth, where the source has no splits).

    Raises UsageError for settings that do not fit the data, DataError or ShapeError for damaged data,
    KeyFailureError for another key.
    """
    if plain and key is not None:
        raise UsageError("plain photos need no key", hint="leave it away", parameters=("key",))
    if plain and config is not None and config.adapt_block is not None:
        raise UsageError("plain photos need no adaptation network", hint="leave it away", parameters=("adapt",))
    if not plain and (preprocess is not None or hold_out is not None):
        raise UsageError("options for images are for plain photos, sealed ones have theirs", hint="seal with them")
    datasets = [] if plain else _open_all(data, key)
    if not plain and not datasets:
        raise UsageError("there is nothing to train on", hint="give a sealed data set")
    bound = None if key is None else bind_lock(datasets[0], key)
    lock = None if key is None else "shuffled"
    config = config or recommend(datasets or None, adapt=len(datasets) > 1, lock=lock)
    if (config.lock is None) != (key is None):
        raise UsageError(
            "a locked model is trained with the client's key, any other without",
            hint="give the key together with lock, or neither",
            parameters=("key",),
        )
    out = Path(out)
    material = (
        read_photos(_name_source(data), preprocess or Preprocess(), hold_out)
        if plain
        else _collect(datasets, config)
    )
    note_if_few(material)
    if not config.norm_images:
        norm_images = choose_norm_images(len(material.train_set), config.batch_size, config.epochs)
        config = replace(config, norm_images=norm_images)
    if config.can_decrypt:
        note_can_decrypt(out)
    public, seed = config.public, config.seed
    with track(tracker if join_processes().is_main else None, config, out) as send:
        result = fit(
            config,
            material.train_set,
            material.test_set,
            out,
            material.provenance,
            _call_all([*([progress] if progress else []), *callbacks, send]),
            bound,
            lambda: find_maps(datasets, choose_train_split(datasets[0]), public, seed),
            material.owners,
        )
    note_remarks(getattr(material.train_set, "remarks", {}))
    learned = measure_training(out, material, bound)
    return TrainResult(config, result, material.provenance["cipher"], material.test_set is not None, learned)


def _call_all(callbacks: Sequence[Callable[[Progress], None]]) -> Callable[[Progress], None]:
    def call(event: Progress) -> None:
        for callback in callbacks:
            callback(event)

    return call


def _open_all(data: Data | None, key: Key | None) -> list[SealedDataset]:
    if data is None:
        return []
    several = [data] if isinstance(data, SealedDataset | str | Place) else data
    return [open_dataset(sealed, key) for sealed in several]


def _name_source(data: Data) -> str:
    if isinstance(data, str | Path):
        return str(data)
    if isinstance(data, Sequence) and len(data) == 1 and isinstance(data[0], str | Path):
        return str(data[0])
    raise UsageError("plain photos come from one source", hint="name one, or put the photos into one folder")


def _collect(datasets: Sequence[SealedDataset], config: TrainConfig) -> Material:
    """The sets of one owner, or of several; each of these needs an adaptation network of its own."""
    dataset, split = datasets[0], choose_train_split(datasets[0])
    provenance = dataset.spec.to_json()
    if len(datasets) == 1:
        tested = dataset.split(TEST) if TEST in dataset.splits and split != TEST else None
        return Material(dataset.split(split), tested, provenance)
    if config.adapt_block is None or config.lock is not None or config.inverse is not None:
        raise UsageError(
            "several data sets share a model only through adaptation networks, one for each key",
            hint="add such networks, and leave away a key, and a map from a file",
            parameters=("adapt",),
        )
    train_set, test_set, owners = join(datasets, split, config.normalize)
    if config.start == "random" and any(owner.adaptation == "positions" for owner in owners):
        raise UsageError(
            "a pixel permutation cannot be learned from random numbers",
            hint="start from ciphertexts",
            parameters=("start",),
        )
    return Material(train_set, test_set, provenance, owners)
