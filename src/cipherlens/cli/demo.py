"""``cipherlens demo``: the whole story on the embedded data, in a few minutes."""

import time
from pathlib import Path

from cipherlens.ciphers import create_cipher
from cipherlens.cli.console import Json, emit, progress_bar, say
from cipherlens.data.sealed import SealedDataset
from cipherlens.data.sealing import seal
from cipherlens.data.shards import SealOptions
from cipherlens.keys import Key

SOURCE = "synthetic:objects"
EPOCHS = 8


def demo(*, out: Path = Path("demo"), source: str = SOURCE, epochs: int = EPOCHS, as_json: Json = False) -> None:
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
    from cipherlens.audit.auditing import audit
    from cipherlens.audit.report import summary_lines, write_report
    from cipherlens.audit.target import load_target
    from cipherlens.cli.auditor import default_count

    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    say("1/4 client: make a key and seal the images (Hill cipher, 4x4 blocks)")
    key = _client_key(out / "client.key")
    sealed = _seal(source, out / "sealed", "hill", key)
    plain = _seal(source, out / "plain-baseline", "identity", key)
    say("2/4 provider: train on plain images, on sealed ones, and with an adaptation network, all without the key")
    runs = [
        _train(plain, out / "run-plain", None, epochs),
        _train(sealed, out / "run-sealed", None, epochs),
        _train(sealed, out / "run-sealed-adapt", 4, epochs),
    ]
    say("3/4 eavesdropper: attack the sealed test images, with controls")
    target = load_target(sealed, source, "test", default_count(sealed))
    with progress_bar("attacking") as progress:
        report, pictures = audit(sealed, target, "cipherlens demo", runs, None, 0, progress)
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


def _train(dataset: SealedDataset, out: Path, adapt_block: int | None, epochs: int) -> Path:
    from cipherlens.cli.provider import show_progress
    from cipherlens.train.config import TrainConfig
    from cipherlens.train.fit import fit

    config = TrainConfig(model="preresnet20", adapt_block=adapt_block, epochs=epochs, batch_size=64)
    with progress_bar(f"training {out.name}") as bar:
        fit(
            config,
            dataset.split("train"),
            dataset.split("test"),
            out,
            dataset.plan.public(),
            lambda event: show_progress(event, bar),
        )
    return out
