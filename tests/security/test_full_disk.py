"""A full disk: a clear error, nothing under a final name, and the same command goes on when there is space.

The disk is a small tmpfs, so these tests need root; elsewhere they are skipped.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cipherlens as cl
from cipherlens.keys import Key
from tests.conftest import read_files

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("jinja2")

SOURCE = "synthetic:tiny?n=300&test=100&size=32"
KEY = cl.Key(bytes([5]) * 32)
Call = Callable[..., tuple[int, str, str]]


def mount(place: Path, options: str) -> bool:
    if shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    if not mount(place, "size=40k"):
        pytest.skip("no small disk can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key, sets, runs and a map, on a disk that is large enough."""
    made = tmp_path_factory.mktemp("material")
    KEY.save(made / "client.key")
    for name, cipher in (("sealed", "hill"), ("shuffled", "pixel-permutation"), ("plain", "identity")):
        params = {"block": 4} if cipher == "hill" else {}
        cl.seal(SOURCE, made / name, cl.create_cipher(cipher, **params), KEY)
    config = cl.recommend(None, epochs=1, threads=1, batch_size=50, precision="float32")
    cl.train(made / "plain", config, out=made / "run")
    embedding = cl.TrainConfig(model="convnext_atto", epochs=1, threads=1, optimizer="adamw", batch_size=50)
    cl.train(made / "plain", embedding, out=made / "run-embedding")
    masked = "synthetic:tiny?n=40&test=8&size=32&masks=1"
    cl.seal(masked, made / "masked", cl.create_cipher("identity"), KEY)
    cl.train(made / "masked", cl.TrainConfig(model="unet-small", epochs=1, threads=1), out=made / "run-masked")
    (made / "many").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(made / "photo.png")
    Image.fromarray(noise[:32, :32]).save(made / "many" / "photo.png")
    Key(bytes([6]) * 32).save(made / "new.key")
    return made


TRAIN = ("--epochs", "2", "--threads", "1", "--batch-size", "50", "--precision", "float32")
COMMANDS = {
    "encrypt": ("encrypt", SOURCE, "OUT", "--key", "KEY", "--block", "4", "--workers", "1"),
    "encrypt by two": ("encrypt", SOURCE, "OUT", "--key", "KEY", "--block", "4", "--workers", "2"),
    "decrypt": ("decrypt", "MADE/sealed", "OUT", "--key", "KEY"),
    "train": ("train", "MADE/sealed", "--out", "OUT", *TRAIN),
    "lock": ("lock", "MADE/run", "--key", "KEY", "--out", "OUT"),
    "adapt": ("adapt", "MADE/run", "MADE/sealed", "--out", "OUT"),
    "audit": ("audit", "MADE/sealed", "--plain", SOURCE, "--out", "OUT", "--attacks", "known-plaintext"),
    "save-map": ("attack", "covariance", "MADE/sealed", "--save-map", "OUT.safetensors"),
    "invert": ("invert", "MADE/sealed", "--key", "KEY", "--out", "OUT.safetensors"),
    "keygen": ("keygen", "OUT"),
    "rotate": ("key", "rotate", "OUT", "--from", "KEY", "--to", "MADE/new.key", "--workers", "1"),
    "rotate by two": ("key", "rotate", "OUT", "--from", "KEY", "--to", "MADE/new.key", "--workers", "2"),
    "fold": ("fold", "MADE/run-embedding", "--sealed", "MADE/sealed", "--key", "KEY", "--out", "OUT"),
    "export": ("export", "MADE/run", "--out", "OUT.safetensors", "--format", "safetensors"),
    "export-data": ("export-data", "MADE/sealed", "--out", "OUT"),
    "predict": ("predict", "MADE/run-masked", "MADE/many", "--masks", "OUT"),
    "demo": ("demo", "--photo", "MADE/photo.png", "--out", "OUT"),
    "reproduce": ("reproduce", "privdl-access", "--scale", "smoke", "--out", "OUT", "--threads", "1"),
}
JOURNALS = {"journal.jsonl", "config.json"}
"""What may lie under a final name, since it says how to go on."""
SAYS_HOW_TO_GO_ON = {
    **{name: {"rotation.jsonl", "test-00000-2.safetensors"} for name in ("rotate", "rotate by two")},
    "reproduce": JOURNALS | {"client.key"},
}
NEEDS_FILLING = ("save-map", "invert", "keygen", "predict")
"""They write less than the disk has."""


def fill(name: str, material: Path, out: Path) -> list[str]:
    places = {"OUT": out, "KEY": material / "client.key", "MADE": material}
    return [re.sub("OUT|KEY|MADE", lambda found: str(places[found[0]]), word) for word in COMMANDS[name]]


def _read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SLOW = ("demo", "reproduce", "audit", "adapt")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.full] * (n in SLOW)) for n in COMMANDS])
def test_a_full_disk(name: str, material: Path, disk: Path, call: Call) -> None:
    out = disk / "out"
    if name.startswith("rotate"):
        subprocess.run(["mount", "-o", "remount,size=7m", str(disk)], check=True)
        shutil.copytree(material / "sealed", out)
    if name in NEEDS_FILLING:
        (disk / "other").write_bytes(bytes(40_960))
    arguments = fill(name, material, out)
    before = _read(out) if out.is_dir() else {}
    code, _, err = call(*arguments)
    assert code == 1 and "error: no space is left" in err and "run the same command again" in err, err
    assert not any(path.suffix == ".tmp" for path in disk.rglob("*"))
    after = _read(disk)
    assert all(after[f"out/{file}"] == content for file, content in before.items())
    finals = {Path(file).name for file in after} - {Path(file).name for file in before} - {"other", ".lock"}
    assert finals <= SAYS_HOW_TO_GO_ON.get(name, JOURNALS), finals
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert call(*arguments)[0] == 0
    if name.startswith(("encrypt", "decrypt")):
        direct = disk / "direct"
        assert call(*[str(direct) if word == str(out) else word for word in arguments])[0] == 0
        lock = {".lock": b""}
        assert read_files(out) | lock == read_files(direct) | lock and list(direct.rglob("*.*"))


def test_a_disk_that_cannot_be_written(material: Path, disk: Path, call: Call) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for name in ("encrypt", "decrypt", "train", "lock", "audit", "keygen"):
        code, _, err = call(*fill(name, material, disk / "out"))
        assert code == 1 and "the disk is read-only" in err, (name, err)
