"""``cipherlens demo``: the whole story on the embedded data, in a few minutes."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from cipherlens.ciphers import create_cipher
from cipherlens.cli.console import emit, progress_bar, say
from cipherlens.cli.options.types import Json, Whole
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sealed.shards import SealOptions
from cipherlens.data.sealed.workers import run_in_processes
from cipherlens.keys import Key

SOURCE = "synthetic:objects"
EPOCHS = 8


def demo(*, out: Path = Path("demo"), source: str = SOURCE, epochs: Whole = EPOCHS, as_json: Json = False) -> None:
    """Seal, train, attack and report on generated images. Run again, it continues where it was.

    Parameters
    ----------
    out
        Folder for everything that is made.
    source
        Images to use.
    epochs
        Epochs of each of the three trainings.
    """
    from cipherlens.auditing.report.write import summary_lines, write_report
    from cipherlens.auditing.run import AuditConfig, audit
    from cipherlens.cli.commands.attack import default_count
    from cipherlens.evaluation.load import load_target

    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    say("1/4 client: make a key and seal the images (Hill cipher, 4x4 blocks)")
    key = _client_key(out / "client.key")
    sealed = _seal(source, out / "sealed", "hill", key)
    plain = _seal(source, out / "plain-baseline", "identity", key)
    say("2/4 provider: train on plain images, on sealed ones, and with an adaptation network, all without the key")
    trainings = [
        Training(plain.root, out / "run-plain", None, epochs),
        Training(sealed.root, out / "run-sealed", None, epochs),
        Training(sealed.root, out / "run-sealed-adapt", 4, epochs),
    ]
    # A process with one thread each: on a machine that has other work, two threads wait for each other.
    for _ in run_in_processes(_train, trainings, 2, _ready, ()):
        pass
    runs = [training.out for training in trainings]
    say("3/4 eavesdropper: attack the sealed test images, with controls")
    target = load_target(sealed, source, "test", default_count(sealed))
    with progress_bar("attacking") as progress:
        effort = AuditConfig(workers=os.cpu_count() or 1)
        report, pictures = audit(sealed, target, "cipherlens demo", runs, effort=effort, progress=progress)
    say("4/4 report")
    page = write_report(report, pictures, out / "report")
    minutes = (time.monotonic() - started) / 60
    facts = {"report": str(page), "minutes": minutes, "accuracy": report["accuracy"], "attacks": report["attacks"]}
    emit(facts, as_json, [*summary_lines(report), f"{page}  ({minutes:.1f} minutes)"])


def _client_key(path: Path) -> Key:
    if not path.exists():
        Key.generate().save(path, comment="demo")
    return Key.load(path)


def _seal(source: str, out: Path, cipher: str, key: Key) -> SealedDataset:
    with progress_bar(f"encrypting ({cipher})") as progress:
        seal(source, out, create_cipher(cipher), key, SealOptions(workers=2), progress)
    return SealedDataset.open(out)


@dataclass(frozen=True)
class Training:
    """One of the demo's trainings."""

    sealed: Path
    out: Path
    adapt_block: int | None
    epochs: int


def _ready() -> None:
    """Nothing to prepare in a worker."""


def _train(training: Training) -> None:
    from cipherlens.training.config import TrainConfig
    from cipherlens.training.engine.metrics import Progress
    from cipherlens.training.fit import fit

    def tell(event: Progress) -> None:
        if event.metrics is not None:
            accuracy = event.metrics.test_accuracy or 0.0
            say(f"  {training.out.name}: epoch {event.position.epoch}/{event.epochs}, test accuracy {accuracy:.1%}")

    dataset = SealedDataset.open(training.sealed)
    config = TrainConfig(
        model="preresnet20", adapt_block=training.adapt_block, epochs=training.epochs, batch_size=64, threads=1
    )
    fit(config, dataset.split("train"), dataset.split("test"), training.out, dataset.spec.to_json(), tell)
