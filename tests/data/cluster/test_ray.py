"""Sealing on a Ray cluster of two nodes on this machine: the same bytes whatever dies, the key in workers only."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.data.storage.url import Url
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key
from tests.conftest import read_files
from tests.data.storage.conftest import bucket, own_cache, s3_server  # noqa: F401
from tests.data.storage.test_remote import load_all

pytestmark = pytest.mark.full
CIPHER = create_cipher("hill", block=4)
SOURCE = "synthetic:tiny?n=6000&test=20"


@pytest.fixture
def cluster(bucket: Url) -> Iterator[Any]:  # noqa: F811
    """Two nodes, which see the S3 server; nobody is connected."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.second = found.add_node(num_cpus=2)
    yield found
    import ray

    ray.shutdown()
    found.shutdown()


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same id and time for every data set, and small shards."""
    monkeypatch.setattr("cipherlens.data.sealed.job.draw_id", lambda: "0" * 32)
    monkeypatch.setattr("cipherlens.data.sealed.seal.tell_time", lambda: "2026-01-01T00:00:00Z")
    monkeypatch.setattr("cipherlens.data.sealed.job.SHARD_BYTES", 1 << 20)


def on_ray(cluster: Any, workers: int | None = None) -> SealOptions:
    return SealOptions(engine="ray", address=cluster.address, workers=workers)


@pytest.mark.usefixtures("fixed")
@pytest.mark.parametrize("workers", [1, None])
def test_same_bytes_as_the_local_engine(cluster: Any, key: Key, tmp_path: Path, workers: int | None) -> None:
    seal(SOURCE, tmp_path / "local", CIPHER, key)
    report = seal(SOURCE, tmp_path / "ray", CIPHER, key, on_ray(cluster, workers))
    assert report.shards > 60
    assert read_files(tmp_path / "ray") == read_files(tmp_path / "local")


@pytest.mark.usefixtures("fixed")
def test_a_node_dies(cluster: Any, key: Key, tmp_path: Path, bucket: Url) -> None:  # noqa: F811
    """From storage to storage; the node with most workers is killed in the middle."""
    seal(SOURCE, tmp_path / "local", CIPHER, key)
    killed = []

    def progress(done: int, total: int) -> None:
        if done > total / 4 and not killed:
            killed.append(done)
            cluster.remove_node(cluster.second, allow_graceful=False)

    seal(SOURCE, bucket / "set", CIPHER, key, on_ray(cluster), progress)
    assert killed
    expected = {p.relative_to(tmp_path / "local").as_posix(): p for p in (tmp_path / "local").rglob("*.*")}
    assert load_all(bucket / "set") == {name: path.read_bytes() for name, path in expected.items()}


def read_memory(process: int) -> Iterator[bytes]:
    """What a process has written to its memory, piece by piece."""
    with Path(f"/proc/{process}/maps").open() as maps, Path(f"/proc/{process}/mem").open("rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            start, end = (int(part, 16) for part in span.split("-"))
            if "rw" not in rights or end - start > 1 << 33:
                continue
            memory.seek(start)
            try:
                yield memory.read(end - start)
            except OSError:  # a piece that cannot be read
                continue


def find_processes(*names: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {name: [] for name in names}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                words = (place / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            for name in names:
                if name in words.partition("\0")[0]:
                    found[name].append(int(place.name))
    return found


def test_the_key_is_in_workers_only(cluster: Any, tmp_path: Path) -> None:
    """Neither Ray's files, nor its object store, nor the memory of its own processes holds the key.

    A marked text that travels as a task's argument is found there: the search can find something.
    """
    key, marked = Key.generate(), "synthetic:tiny?n=4000&test=20"
    words = [key.to_bytes(), key.to_bytes().hex().encode()]
    looked: dict[str, int] = {}

    def progress(done: int, total: int) -> None:
        if looked or done < total / 3:
            return
        for kind, processes in find_processes("raylet", "gcs_server").items():
            for process in processes:
                for piece in read_memory(process):
                    looked[kind] = looked.get(kind, 0) + piece.count(marked.encode())
                    assert not any(word in piece for word in words), f"the key is in {kind}"

    seal(marked, tmp_path / "out", CIPHER, key, on_ray(cluster), progress)
    assert looked["raylet"] > 0  # the object store is in it
    session = Path(cluster.head_node.get_session_dir_path())
    files = [path for path in session.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        assert not any(word in content for word in words), path


@pytest.mark.usefixtures("fixed")
def test_the_driver_is_killed(cluster: Any, key: Key, tmp_path: Path) -> None:
    key.save(tmp_path / "a.key")
    command = [sys.executable, "-m", "cipherlens", "encrypt", SOURCE, str(tmp_path / "out"), "--json"]
    command += [
        "--key",
        str(tmp_path / "a.key"),
        "--cipher",
        "hill",
        "--engine",
        "ray",
        "--address",
        cluster.address,
    ]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / "out" / "journal.jsonl"
    while running.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 2):
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["reused"] >= 2 and report["images"] == 6020


def test_a_bad_image_ends_all(cluster: Any, key: Key, folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "cat" / "99.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="is not an image"):
        seal(folder, tmp_path / "out", CIPHER, key, on_ray(cluster))
    options = SealOptions(engine="ray", address=cluster.address, on_error="skip")
    report = seal(folder, tmp_path / "out-too", CIPHER, key, options)
    assert report.images == 18 and report.skipped_images == 1


def test_what_cannot_be(tmp_path: Path, key: Key) -> None:
    with pytest.raises(UsageError, match=r"no Ray cluster at 127\.0\.0\.1:9"):
        seal(SOURCE, tmp_path / "out", CIPHER, key, SealOptions(engine="ray", address="127.0.0.1:9"))
    with pytest.raises(UsageError, match="other processes do not see memory://"):
        seal(SOURCE, "memory://out", CIPHER, key, SealOptions(engine="ray"))
    with pytest.raises(UsageError, match="unknown engine 'spark'"):
        SealOptions(engine="spark")
    with pytest.raises(UsageError, match="for the engine ray"):
        SealOptions(address="here:1")
