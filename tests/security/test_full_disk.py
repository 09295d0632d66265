"""A full disk: a clear error, nothing under a final name, and the same command goes on when there is space.

The disk is a small tmpfs, so these tests need root; elsewhere they are skipped.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cipherlens as cl
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
}
NEEDS_FILLING = ("save-map", "invert", "keygen")
"""They write less than the disk has."""


def fill(name: str, material: Path, out: Path) -> list[str]:
    places = {"OUT": out, "KEY": material / "client.key", "MADE": material}
    return [re.sub("OUT|KEY|MADE", lambda found: str(places[found[0]]), word) for word in COMMANDS[name]]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(name: str, material: Path, disk: Path, call: Call) -> None:
    out = disk / "out"
    if name in NEEDS_FILLING:
        (disk / "other").write_bytes(bytes(40_960))
    arguments = fill(name, material, out)
    code, _, err = call(*arguments)
    assert code == 1 and "error: no space is left" in err and "run the same command again" in err, err
    assert not any(path.suffix == ".tmp" for path in disk.rglob("*"))
    finals = [path.name for path in disk.rglob("*") if path.is_file() and path.name not in ("other", ".lock")]
    assert set(finals) <= {"journal.jsonl", "config.json"}, finals  # which say how to go on
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
