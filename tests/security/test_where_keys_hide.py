"""The whole story of a key, and every place that may hold something of it; any other place fails.

A new artefact is one line in STORY, and one in ALLOWED if it may hold a secret.
"""

import base64
import fnmatch
import gzip
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cipherlens.ciphers import create_cipher, list_ciphers
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.seal import seal
from cipherlens.keys import Key
from tests.security.processes import Run, end_processes, needs_proc
from tests.security.secrets.needles import Needles, encode_cipher, encode_secret, encode_table, note_subkeys
from tests.security.secrets.search import Finder

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("jinja2")
pytest.importorskip("onnxruntime")

__all__ = ["end_processes"]  # a fixture for every test here

KEYS = (Key(bytes(range(7, 39))), Key(bytes(range(90, 122))))
SOURCE = "synthetic:tiny?n=60&test=20&size=32"
KEY = ("--key", "client.key")
TRAIN = ("--epochs", "1", "--threads", "1", "--batch-size", "20", "--precision", "float32")
STORY = (
    ("encrypt", SOURCE, "hill", *KEY, "--block", "4", "--workers", "1"),
    ("encrypt", SOURCE, "shuffled", *KEY, "--cipher", "pixel-permutation", "--workers", "1", "--keep-names"),
    ("encrypt", SOURCE, "alone", *KEY, "--cipher", "negpos", "--per-image", "--workers", "1"),
    ("encrypt", SOURCE, "plain", *KEY, "--cipher", "identity", "--workers", "1"),
    ("train", "hill", "--out", "run", "--model", "speednet", *TRAIN),
    ("train", "plain", "--out", "run-plain", "--model", "speednet", *TRAIN),
    ("train", "shuffled", "--out", "run-shuffled", "--model", "preresnet20", *KEY, *TRAIN),
    ("lock", "run-plain", "--out", "run-locked", *KEY),
    ("attack", "covariance", "hill", "--save-map", "found.safetensors"),
    ("invert", "hill", *KEY, "--out", "inverse.safetensors"),
    ("adapt", "run-plain", "hill", "--front-end", "inverse.safetensors", "--out", "run-adapted"),
    ("audit", "hill", "--plain", SOURCE, "--out", "audit", "--attacks", "known-plaintext", *KEY),
    ("predict", "run-locked", "photo.png", *KEY, "--json"),
    ("export", "run", "--out", "run.onnx"),
    ("export", "run-locked", "--out", "locked.onnx", *KEY, "--contains-key"),
    ("export", "run-locked", "--out", "locked.safetensors", "--format", "safetensors", *KEY),
    ("decrypt", "hill", "pictures", *KEY),
    ("key", "rotate", "alone", "--from", "client.key", "--to", "new.key", "--workers", "1"),
    ("key", "rotate", "shuffled", "--from", "client.key", "--to", "new.key", "--workers", "1"),
    *(("inspect", name) for name in ("client.key", "hill", "run-locked", "inverse.safetensors", "audit")),
)
ALLOWED = {
    "client.key": "key, as base64",
    "new.key": "key, as base64",
    # Whoever has one of these decrypts as with the key; they say so.
    "inverse.safetensors": "hill's inverses",
    "locked.contains-key.onnx": "pixel-permutation's",
    "run-adapted/front-end.safetensors": "hill's inverses",
}
Call = Callable[..., tuple[int, str, str]]


def list_needles(subkeys: dict[str, bytes]) -> Needles:
    """Everything of both keys: themselves, what was derived from them, and the tables of the story's ciphers."""
    needles: Needles = {}
    for name, secret in subkeys.items():
        needles |= encode_secret(secret, name)
    for key in KEYS:
        needles |= encode_secret(key.to_bytes(), "key")
        needles |= encode_cipher(create_cipher("hill", block=4).bind(key, (3, 32, 32)))
        needles |= encode_cipher(create_cipher("pixel-permutation").bind(key, (3, 32, 32)))
    return needles


def is_allowed(path: str, what: str) -> bool:
    return any(fnmatch.fnmatch(path, pattern) and what.startswith(known) for pattern, known in ALLOWED.items())


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_the_whole_story(tmp_path: Path, call: Call, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for key, name in zip(KEYS, ("client.key", "new.key"), strict=True):
        key.save(name)
    KEYS[0].save("locked.key", "some words")
    Image.fromarray(photo).save("photo.png")
    with note_subkeys() as subkeys:
        for number, arguments in enumerate(STORY):
            code, out, err = call(*arguments)
            assert code == 0, (arguments, err)
            Path(f"log-{number}-{arguments[0]}").write_text(out + err)
    assert len(subkeys) > 100  # among them those of single images
    needles = list_needles(subkeys)
    found = Finder(needles).search_files(tmp_path)
    wrong = {path: {what for what in all_ if not is_allowed(path, what)} for path, all_ in found.items()}
    assert not any(wrong.values()), {path: sorted(what)[:3] for path, what in wrong.items() if what}
    # The search sees: each place that may hold a secret does hold it.
    for pattern, known in ALLOWED.items():
        held = [what for path, all_ in found.items() if fnmatch.fnmatch(path, pattern) for what in all_]
        assert any(what.startswith(known) for what in held), pattern


def test_sealed_sets_of_all_ciphers(tmp_path: Path) -> None:
    needles: Needles = {}
    with note_subkeys() as subkeys:
        for name in list_ciphers():
            cipher = create_cipher(name)
            seal(SOURCE, tmp_path / name, cipher, KEYS[0])
            needles |= encode_cipher(cipher.bind(KEYS[0], (3, 32, 32)))
    for label, secret in subkeys.items():
        needles |= encode_secret(secret, label)
    assert len(needles) > 1_000
    assert Finder(needles).search_files(tmp_path) == {}


def draw(cipher: str, table: str, **params: int) -> np.ndarray:
    """A table of the first key."""
    return vars(create_cipher(cipher, **params).bind(KEYS[0], (3, 32, 32)))[table]


def leak_everywhere() -> Iterator[tuple[str, bytes]]:
    """Leaks of the kinds that happen; each must be found."""
    secret, table = KEYS[0].to_bytes(), draw("pixel-permutation", "order")
    matrices = draw("hill", "matrices", block=4)
    yield "bytes", b"\0\0" + secret + b"\0"
    yield "hexadecimal", b'{"key": "' + secret.hex().encode() + b'"}'
    yield "base64 of more", base64.b64encode(b"ab" + secret + b"cd")
    yield "list", json.dumps({"key": list(secret)}).encode()
    yield "literal", repr({"secret": secret}).encode()
    yield "order", b"12345678" + table.astype(np.int32).tobytes()
    yield "order in short", table.astype(np.uint16).tobytes()
    yield "order as text", json.dumps({"order": table.tolist()}).encode()
    yield "matrices", matrices.astype(np.float32).tobytes()
    yield "transposed", np.ascontiguousarray(matrices.transpose(0, 2, 1)).tobytes()
    zipped = io.BytesIO()
    np.savez_compressed(zipped, order=table)
    yield "npz", b"name\n" + zipped.getvalue()
    yield "gzip", b"name\n" + gzip.compress(secret)
    picture = io.BytesIO()
    Image.fromarray((table % 256).astype(np.uint8).reshape(32, 32)).save(picture, "PNG")
    yield "picture in a page", b'<img src="data:image/png;base64,' + base64.b64encode(picture.getvalue()) + b'">'


LEAKS = dict(leak_everywhere())


@pytest.mark.parametrize("name", LEAKS)
def test_leaks_are_found(name: str) -> None:
    content = LEAKS[name]
    needles = list_needles({})
    needles |= encode_table((draw("pixel-permutation", "order") % 256).astype(np.uint8), "low bytes")
    assert Finder(needles).search(content)
    assert not Finder(needles).search(content[::-1])


def test_unexpected_errors_show_no_secret(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback is printed where one is asked for: of a failure with the key in reach."""

    def fail(*_: object) -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setenv("CIPHERLENS_TRACEBACK", "1")
    monkeypatch.setattr("cipherlens.data.sealed.seal.write_manifest", fail)
    KEYS[0].save(tmp_path / "client.key")
    with note_subkeys() as subkeys:
        code, out, err = call(
            "encrypt", SOURCE, tmp_path / "set", "--key", tmp_path / "client.key", "--workers", "1"
        )
    assert code == 1 and "write_manifest" in err and "unexpected" in err
    assert not Finder(list_needles(subkeys)).search((out + err).encode())


@needs_proc
def test_processes_show_no_secret(tmp_path: Path) -> None:
    """Arguments, environment and temporary files of a command and its workers, read all the time."""
    (tmp_path / "work").mkdir()
    KEYS[0].save(tmp_path / "work" / "client.key")
    run = Run(("encrypt", "synthetic:tiny?n=3000&test=20&size=32", "out", *KEY, "--workers", "2"), tmp_path)
    seen: set[tuple[str, bytes]] = set()  # a process that is ending has empty arguments: nothing is written over
    most = 0
    while run.process.poll() is None:
        numbers = [re.match(r"\d+", line) for line in run.list_processes()]
        most = max(most, len(numbers))
        places = [Path(f"/proc/{n[0]}/{name}") for n in filter(None, numbers) for name in ("cmdline", "environ")]
        for path in (*places, *(tmp_path / "temporary").rglob("*")):
            with suppress(OSError):  # a process or a file that is gone, or a folder
                seen.add((path.name, path.read_bytes()))
        time.sleep(0.02)
    assert run.end() == 0 and most >= 3, (run.err, most)
    finder = Finder(list_needles({}))
    assert not [name for name, content in seen if finder.search(content)]
    assert any(b"client.key" in content for name, content in seen if name == "cmdline")
    assert len(SealedDataset.open(tmp_path / "work" / "out", KEYS[0]).splits) == 2
