"""``cipherlens demo``: the whole story on the embedded data in a few minutes, or of one photo in seconds."""

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cipherlens.ciphers import create_cipher
from cipherlens.cli.console import emit, progress_bar, say
from cipherlens.cli.options.types import Json, Whole
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sealed.workers import run_in_processes
from cipherlens.data.sources.folder import IMAGE_SUFFIXES
from cipherlens.data.sources.registry import open_source
from cipherlens.data.storage.url import Place
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key

if TYPE_CHECKING:
    from cipherlens.auditing.result import AuditReport

SOURCE = "synthetic:objects"
PUBLIC = "synthetic:objects?n=500&test=10&seed=99"
"""Other images of the same kind, as the provider of a service has them."""
EPOCHS = 5
"""Three trainings of so many epochs take some three minutes on two cores without AVX-512."""
BLOCK = 8
"""Block of the cipher for one photo: what ER-CNN uses at 224x224."""
_SIDES = (96, 448)
"""Least and largest side of a photo's centre square, in pixels. More tells the attack more, and takes longer."""


def demo(
    *,
    out: Path = Path("demo"),
    photo: Path | None = None,
    source: str = SOURCE,
    epochs: Whole = EPOCHS,
    as_json: Json = False,
) -> None:
    """Seal, train, attack and report on generated images. Run again, it continues where it was.

    Parameters
    ----------
    out
        Folder for everything that is made.
    photo
        Do it with one photo of your own instead: it is sealed with a key that is thrown away, and read back from
        this one ciphertext. Only the report is kept, which shows the photo.
    source
        Images to use.
    epochs
        Epochs of each of the three trainings.
    """
    if photo is not None and (source, epochs) != (SOURCE, EPOCHS):
        raise UsageError("--photo is sealed and read, nothing is trained", hint="leave --source and --epochs away")
    started = time.monotonic()
    report, page = _read_back(photo, out) if photo is not None else _tell_story(out, source, epochs)
    from cipherlens.auditing.summary import summary_lines

    took = time.monotonic() - started
    facts = {"report": str(page), "minutes": took / 60, "attacks": report.to_record()["attacks"]}
    words = f"{took / 60:.1f} minutes" if took > 90 else f"{took:.0f} seconds"
    emit(facts | {"accuracy": report.accuracy}, as_json, [*summary_lines(report), f"{page}  ({words})"])


def _tell_story(out: Path, source: str, epochs: int) -> "tuple[AuditReport, Path]":
    """Seal, train three times, attack: what the client, the provider and the eavesdropper do."""
    out.mkdir(parents=True, exist_ok=True)
    say("1/4 client: make a key and seal the images (Hill cipher, 4x4 blocks)")
    key = _client_key(out / "client.key")
    sealed = _seal(source, out / "sealed", "hill", key, SealOptions(workers=2))
    plain = _seal(source, out / "plain-baseline", "identity", key, SealOptions(workers=2))
    say("2/4 provider: train on plain images, on sealed ones, and on sealed ones that an attack reads first")
    trainings = [
        Training(plain.root, out / "run-plain", False, epochs),
        Training(sealed.root, out / "run-sealed", False, epochs),
        Training(sealed.root, out / "run-sealed-read", True, epochs, PUBLIC if source == SOURCE else None),
    ]
    # A process with one thread each: on a machine that has other work, two threads wait for each other.
    for _ in run_in_processes(_train, trainings, len(trainings), _ready, ()):
        pass
    say("3/4 eavesdropper: attack the sealed test images, with controls")
    runs = [training.out for training in trainings]
    report, page = _audit(sealed, source, "cipherlens demo", out / "report", runs, split="test")
    say("4/4 report")
    return report, page


def _read_back(photo: Path, out: Path) -> "tuple[AuditReport, Path]":
    """Seal one photo under a key that nobody keeps, and attack its only ciphertext."""
    least, most = _SIDES
    if not photo.is_file() or photo.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(f"{photo} is no photo", hint=f"give one file: {', '.join(sorted(IMAGE_SUFFIXES))}")
    source = open_source(str(photo))
    first = next(iter(source.splits))
    side = min(Preprocess().apply(source.read(first, [0])[0]).shape[1:])
    if side < least:
        raise DataError(f"{photo} has {side} pixels on its shorter side", hint=f"take one of {least} or more")
    size = min(most, side - side % BLOCK)
    with TemporaryDirectory() as folder:
        say(f"client: seal the centre of the photo, {size}x{size} pixels (Hill cipher, {BLOCK}x{BLOCK} blocks)")
        options = SealOptions(Preprocess(size))
        sealed = _seal(str(photo), Path(folder) / "sealed", "hill", Key.generate(), options, block=BLOCK)
        say("eavesdropper: read it from this one ciphertext, with controls")
        command = shlex.join(["cipherlens", "demo", "--photo", str(photo), "--out", str(out)])
        given: dict[str, Any] = {"split": first, "images": 1, "attacks": ("covariance",)}
        return _audit(sealed, str(photo), command, out / "photo-report", **given)


def _audit(
    sealed: SealedDataset, source: str, command: str, out: Path, runs: Sequence[Path] = (), **settings: Any
) -> "tuple[AuditReport, Path]":
    """The report, and its page."""
    from cipherlens.auditing.run import AuditConfig, audit

    config = AuditConfig(workers=os.cpu_count() or 1, **settings)
    with progress_bar("attacking") as progress:
        report = audit(sealed, source, config, runs=runs, command=command, progress=progress)
    return report, report.write(out)


def _client_key(path: Path) -> Key:
    if not path.exists():
        Key.generate().save(path, comment="demo")
    return Key.load(path)


def _seal(source: str, out: Path, cipher: str, key: Key, options: SealOptions, **params: int) -> SealedDataset:
    with progress_bar(f"encrypting ({cipher})") as progress:
        seal(source, out, create_cipher(cipher, **params), key, options, progress)
    return SealedDataset.open(out)


@dataclass(frozen=True)
class Training:
    """One of the demo's trainings; ``read_first`` starts from what an attack finds in the ciphertexts.

    ``public`` is a source of photos of the same kind, from which the attack knows what to look for.
    """

    sealed: Place
    out: Path
    read_first: bool
    epochs: int
    public: str | None = None


def _ready() -> None:
    """Nothing to prepare in a worker."""


def _train(training: Training) -> None:
    from cipherlens.api.front_end import choose_network, find_map
    from cipherlens.training.config import TrainConfig
    from cipherlens.training.engine.metrics import Progress
    from cipherlens.training.fit import fit

    def tell(event: Progress) -> None:
        if event.metrics is not None:
            accuracy = event.metrics.test_accuracy or 0.0
            say(f"  {training.out.name}: epoch {event.position.epoch}/{event.epochs}, test accuracy {accuracy:.1%}")

    dataset = SealedDataset.open(training.sealed)
    config = TrainConfig(
        model="preresnet20",
        adapt_block=choose_network(dataset.spec)[1] if training.read_first else None,
        start="ciphertexts" if training.read_first else "random",
        public=training.public,
        epochs=training.epochs,
        batch_size=32,
        optimizer="adamw",
        lr=0.003,
        threads=1,
    )
    sets = (dataset.split("train"), dataset.split("test"))
    facts = dataset.spec.to_json()
    fit(config, *sets, training.out, facts, tell, find_maps=lambda: [find_map(dataset, "train", training.public)])
