"""Sealed data sets in object storage: as in a folder, whole or not at all, by one writer at a time."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

import cipherlens as cl
from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed import seal as sealing
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.rotation import rotate_key
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sealed.unseal import unseal
from cipherlens.data.storage import lease
from cipherlens.data.storage.opening import open_storage
from cipherlens.data.storage.url import Url, _open_system
from cipherlens.errors import CipherlensError, DataError, UsageError
from cipherlens.keys import Key
from tests.conftest import read_files

CIPHER = create_cipher("hill", block=4)


def load_all(place: Url) -> dict[str, bytes]:
    """The bytes of all objects below a place, by name."""
    system = place.system
    return {path[len(place.path) + 1 :]: system.cat_file(path) for path in system.find(place.path)}


def fix_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cipherlens.data.sealed.job.draw_id", lambda: "0" * 32)
    monkeypatch.setattr("cipherlens.data.sealed.seal.tell_time", lambda: "2026-01-01T00:00:00Z")


def small_shards(monkeypatch: pytest.MonkeyPatch, count: int = 2) -> None:
    monkeypatch.setattr("cipherlens.data.sealed.job.SHARD_BYTES", count * 3 * 16 * 16 * 4)


def test_same_bytes_as_in_a_folder(
    folder: Path, tmp_path: Path, place: Url, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix_id(monkeypatch)
    small_shards(monkeypatch)
    local = seal(folder, tmp_path / "set", CIPHER, key)
    remote = seal(folder, place, CIPHER, key)
    assert remote.shards == local.shards == 9
    expected = {p.relative_to(tmp_path / "set").as_posix(): p.read_bytes() for p in (tmp_path / "set").rglob("*.*")}
    assert load_all(place) == expected  # neither a lease nor a journal is left
    assert seal(folder, place, CIPHER, key).reused == 9  # once more: it is there, and compared


def test_reading(folder: Path, tmp_path: Path, place: Url, key: Key) -> None:
    seal(folder, tmp_path / "set", CIPHER, key)
    seal(folder, place, CIPHER, key)
    local, remote = (SealedDataset.open(where, key) for where in (tmp_path / "set", str(place)))
    remote.verify()
    for split in local.splits:
        here, there = local.split(split), remote.split(split)
        assert here.labels.tolist() == there.labels.tolist() and len(there) == len(here)
        copy = there if place.scheme == "memory" else pickle.loads(pickle.dumps(there))
        picked = np.arange(len(here))[::-1]
        assert (copy.read(picked) == there.read(picked)).all()
    assert unseal(place, tmp_path / "plain", key) == 18
    assert unseal(tmp_path / "set", tmp_path / "plain-too", key) == 18
    assert read_files(tmp_path / "plain") == read_files(tmp_path / "plain-too")


def test_split_larger_than_what_stays_open(
    folder: Path, tmp_path: Path, memory: Url, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies that have to go are fetched again, and never more than the limit lie there."""
    small_shards(monkeypatch)
    monkeypatch.setattr("cipherlens.data.sealed.dataset.OPEN_COPIES", 2)
    seal(folder, memory / "set", CIPHER, key)
    monkeypatch.setenv("CIPHERLENS_CACHE_BYTES", "14000")  # two shards
    split = SealedDataset.open(memory / "set").split("train")
    everything = split.read_all()
    assert (split.read(np.arange(11, -1, -1)) == everything[::-1]).all()
    copies = list((tmp_path / "cache" / "shards").iterdir())
    assert 1 <= len(copies) <= 2 and (tmp_path / "cache" / "shards").stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("CIPHERLENS_CACHE_BYTES", "much")
    with pytest.raises(UsageError, match="number of bytes"):
        SealedDataset.open(memory / "set").split("test")


def test_damaged_copy_is_fetched_again(folder: Path, tmp_path: Path, place: Url, key: Key) -> None:
    seal(folder, place, CIPHER, key)
    SealedDataset.open(place).split("train")
    for copy in (tmp_path / "cache" / "shards").iterdir():
        copy.write_bytes(bytes(copy.stat().st_size))
    assert SealedDataset.open(place).split("train").read_all().any()


@pytest.mark.parametrize("damage", [lambda old: old[:-1], lambda old: old[:-1] + b"?", lambda old: old + b"?"])
def test_damaged_object_is_refused(
    folder: Path, memory: Url, key: Key, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    seal(folder, memory / "set", CIPHER, key)
    name = next(iter(memory.system.find((memory / "set" / "shards").path)))
    old = memory.system.cat_file(name)
    memory.system.pipe_file(name, damage(old))
    if len(damage(old)) > len(old):  # what is beyond the manifest's size is never read
        SealedDataset.open(memory / "set").verify()
        return
    with pytest.raises(DataError, match=r"damaged|bytes instead of"):
        SealedDataset.open(memory / "set").verify()


def interrupt_after(monkeypatch: pytest.MonkeyPatch, shards: int) -> Callable[[int, int], None]:
    calls = []

    def progress(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == shards:
            raise KeyboardInterrupt

    return progress


def test_continued_job(folder: Path, tmp_path: Path, place: Url, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    fix_id(monkeypatch)
    small_shards(monkeypatch)
    seal(folder, tmp_path / "whole", CIPHER, key)
    with pytest.raises(KeyboardInterrupt):
        seal(folder, place, CIPHER, key, progress=interrupt_after(monkeypatch, 3))
    with pytest.raises(DataError, match="no manifest"):  # a reader sees nothing of half a set
        SealedDataset.open(place)
    with pytest.raises(DataError, match="other settings"):
        seal(folder, place, create_cipher("pixel-permutation"), key)
    assert seal(folder, place, CIPHER, key).reused == 3
    assert load_all(place)["manifest.json"] == (tmp_path / "whole" / "manifest.json").read_bytes()


def test_altered_journal(folder: Path, memory: Url, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    place = memory / "set"
    with pytest.raises(KeyboardInterrupt):
        seal(folder, place, CIPHER, key, progress=interrupt_after(monkeypatch, 4))
    lines = sorted(memory.system.find((place / "journal.jsonl").path))
    assert len(lines) == 5
    second = memory.system.cat_file(lines[2])
    memory.system.rm_file(lines[2])
    with pytest.raises(DataError, match="lacks a line"):
        seal(folder, place, CIPHER, key)
    memory.system.pipe_file(lines[2], memory.system.cat_file(lines[1]))  # a true line in another place
    with pytest.raises(DataError, match="altered"):
        seal(folder, place, CIPHER, key)
    memory.system.pipe_file(lines[2], second)
    assert seal(folder, place, CIPHER, key).reused == 4


def test_other_objects_are_in_the_way(folder: Path, place: Url, key: Key) -> None:
    place.system.pipe_file((place / "notes.txt").path, b"mine")
    with pytest.raises(UsageError, match="not empty"):
        seal(folder, place, CIPHER, key)
    assert load_all(place) == {"notes.txt": b"mine"}


def test_second_writer(folder: Path, place: Url, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """A living writer keeps another away; a dead one's lease ends."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.2)
    with (
        open_storage(place).hold(),
        pytest.raises(CipherlensError, match=rf"^{place} is being written by .*, process {os.getpid()}") as caught,
    ):
        seal(folder, place, CIPHER, key)
    assert caught.value.exit_code == 1  # no damaged data
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 0.3)
    somebody = {"user": "u", "host": "another", "process": 1, "start": "then"}
    place.system.pipe_file((place / ".lock").path, json.dumps(somebody).encode())
    assert seal(folder, place, CIPHER, key).images == 18
    assert ".lock" not in load_all(place)


def test_writer_who_lost_its_lease(folder: Path, place: Url, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writers at once, as after a pause of one: who comes second to a line of the journal ends."""
    small_shards(monkeypatch)
    append = sealing.Journal.add
    raced = []

    def race(self: Any, shard: Any) -> None:
        if not raced:
            raced.append(True)
            number = self._lines
            append(self, shard)
            self._lines = number  # another writer has written this line in between
        append(self, shard)

    monkeypatch.setattr(sealing.Journal, "add", race)
    with pytest.raises(CipherlensError, match="being written by another process"):
        seal(folder, place, CIPHER, key)
    monkeypatch.setattr(sealing.Journal, "add", append)
    assert seal(folder, place, CIPHER, key).reused == 1


@pytest.mark.full
def test_killed_process(tmp_path: Path, bucket: Url, key: Key) -> None:
    """A process with workers is killed; another one takes over at once, for it sees that the first is dead."""
    place, key_file = bucket / "set", tmp_path / "a.key"
    subprocess.run([sys.executable, "-m", "cipherlens", "keygen", key_file], check=True, capture_output=True)
    source = "synthetic:tiny?n=6000&test=20"
    command = [sys.executable, "-m", "cipherlens", "encrypt", source, str(place), "--key", key_file, "--json"]
    command += ["--cipher", "hill", "--workers", "2"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(bucket.system.find((place / "journal.jsonl").path)) < 2 and running.poll() is None:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    left = load_all(place)
    assert ".lock" in left and "manifest.json" not in left
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["images"] == 6020 and report["reused"] >= 1
    SealedDataset.open(place).verify()
    everything = b"".join(load_all(place).values())
    secret = Key.load(key_file).to_bytes()
    for word in (secret, secret.hex().encode(), b"somebody", b"very-secret-words"):
        assert word not in everything


def test_rotation(folder: Path, tmp_path: Path, place: Url, key: Key) -> None:
    seal(folder, place, CIPHER, key)
    new = Key(bytes(range(1, 33)))
    report = rotate_key(place, key, new)
    assert report.counter == 2 and report.images == 18
    names = set(load_all(place))
    assert names == {"manifest.json", "shards/train-00000-2.safetensors", "shards/test-00000-2.safetensors"}
    assert unseal(place, tmp_path / "plain", new) == 18


def test_audit_and_training_take_urls(folder: Path, tmp_path: Path, memory: Url, key: Key) -> None:
    seal(folder, memory / "set", CIPHER, key)
    result = cl.train(str(memory / "set"), cl.recommend(str(memory / "set"), epochs=1), out=tmp_path / "run")
    assert result.cipher == "hill" and len(result.history) == 1


@pytest.mark.parametrize(
    "url", ["s3://id:secret@bucket/x", "s3://id@bucket/x", "gs://b/x?token=1", "zip://a::s3://b"]
)
def test_urls_that_would_leak_or_mislead(url: str, tmp_path: Path, key: Key) -> None:
    with pytest.raises(UsageError) as caught:
        seal("synthetic:tiny?n=4&test=2", url, CIPHER, key)
    assert "secret" not in str(caught.value.args) and "token" not in str(caught.value.args)


def test_unknown_and_missing_storage(tmp_path: Path, key: Key) -> None:
    with pytest.raises(UsageError, match="no kind of storage"):
        SealedDataset.open("nothing://a/b")
    with pytest.raises(UsageError, match=r"gs:// needs a package") as caught:
        SealedDataset.open("gs://a/b")
    assert caught.value.hint == "pip install 'cipherlens[gcs]'"


def test_file_urls_are_paths(folder: Path, tmp_path: Path, key: Key) -> None:
    assert seal(folder.as_uri(), (tmp_path / "a b").as_uri(), CIPHER, key, SealOptions()).images == 18
    assert SealedDataset.open(tmp_path / "a b", key).splits == {"test": 6, "train": 12}


def test_no_such_bucket(bucket: Url, key: Key) -> None:
    with pytest.raises(DataError, match="is not a sealed data set"):
        SealedDataset.open("s3://there-is-no-such-bucket/set")


def test_server_that_is_away(monkeypatch: pytest.MonkeyPatch, bucket: Url, key: Key) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    bucket.system.clear_instance_cache()
    _open_system.cache_clear()
    with pytest.raises(DataError, match="cannot be reached"):
        SealedDataset.open("s3://anything/set")
    Url("s3://anything").system.clear_instance_cache()


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch, s3_server: str) -> Iterator[Url]:
    """A bucket whose server answers every fifth request with 503, "slow down"."""
    app, calls = DomainDispatcherApplication(create_backend_app), []

    def answer(environ: Any, start_response: Any) -> Any:
        calls.append(environ["PATH_INFO"])
        if len(calls) % 5 == 1:
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>less, please</Message></Error>"]
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    url = Url("s3://moody")
    url.system.clear_instance_cache()
    _open_system.cache_clear()
    url.system.mkdir("moody")
    yield url
    assert len(calls) > 10
    url.system.clear_instance_cache()
    _open_system.cache_clear()
    server.shutdown()


def test_a_busy_server_is_asked_again(folder: Path, moody: Url, key: Key) -> None:
    assert seal(folder, moody / "set", CIPHER, key).images == 18
    SealedDataset.open(moody / "set", key).verify()


def test_large_objects_go_in_parts(bucket: Url) -> None:
    storage, content = open_storage(bucket / "set"), bytes(range(256)) * (240 << 10)  # 60 MiB
    storage.write_early("large", content[: 1 << 20], content[1 << 20 :])
    assert storage.read("large", 1 << 30) == content
    with pytest.raises(DataError, match="larger than"):
        storage.read("large", len(content) - 1)


@pytest.mark.slow
def test_forked_workers_fetch_for_themselves(
    folder: Path, bucket: Url, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DataLoader forks its workers; what was evicted they fetch over connections of their own."""
    from torch.utils.data import DataLoader

    small_shards(monkeypatch)
    monkeypatch.setattr("cipherlens.data.sealed.dataset.OPEN_COPIES", 1)
    monkeypatch.setenv("CIPHERLENS_CACHE_BYTES", "1")
    seal(folder, bucket / "set", CIPHER, key)
    split = SealedDataset.open(bucket / "set").split("train")
    loader = DataLoader(split, batch_size=4, num_workers=2, multiprocessing_context="fork")
    found = np.concatenate([images.numpy() for images, _ in loader])
    assert (found == split.read_all()).all()


def test_bucket_to_write_to_is_missing(bucket: Url, key: Key) -> None:
    with pytest.raises(DataError, match=r"cannot be written.*bucket"):
        seal("synthetic:tiny?n=4&test=2", "s3://there-is-no-such-bucket/set", CIPHER, key)


def test_outputs_are_paths(
    folder: Path, memory: Url, key: Key, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL where a path is wanted is refused; it once became a folder called s3: with plain pictures in it."""
    monkeypatch.chdir(tmp_path)
    key.save(tmp_path / "a.key")
    seal(folder, memory / "set", CIPHER, key)
    here = {path.name for path in tmp_path.iterdir()}
    for command in (
        ("decrypt", memory / "set", "s3://bucket/plain", "--key", tmp_path / "a.key"),
        ("train", memory / "set", "--out", "s3://bucket/run"),
        ("keygen", "s3://bucket/a.key"),
    ):
        code, _, err = call(*command)
        assert code == 2 and "is a URL, and this has to be a path" in err
    assert {path.name for path in tmp_path.iterdir()} == here
