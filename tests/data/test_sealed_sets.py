"""Sealed data sets: sources, resuming, and everything that must be refused."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cipherlens.ciphers import create_cipher
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed import job
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.job import plan_job
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sealed.unseal import unseal
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.sources.registry import open_source
from cipherlens.errors import DataError, KeyFailureError, ShapeError, UsageError
from cipherlens.keys import Key
from tests.conftest import read_files, smooth_images

HILL = create_cipher("hill", block=4)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Several shards even for a handful of images: 4 per shard at 3x16x16 float32."""
    monkeypatch.setattr(job, "SHARD_BYTES", 4 * 3 * 16 * 16 * 4)


def test_sealed_images_decrypt_to_the_originals(folder, tmp_path, key):
    report = seal(str(folder), tmp_path / "sealed", HILL, key)
    assert (report.images, report.skipped_images, report.shards) == (18, 0, 5)
    dataset = SealedDataset.open(tmp_path / "sealed", key)
    assert dataset.splits == {"test": 6, "train": 12}
    split = dataset.split("train")
    assert split.classes == ("cat", "dog")
    assert split.labels.tolist() == [0] * 6 + [1] * 6
    source = open_source(str(folder))
    plain = np.stack([item.decode() for item in source.read("train", range(12))])
    bound = HILL.bind(key, (3, 16, 16))
    assert np.array_equal(bound.decrypt(split.read_all()), plain)
    order = np.array([7, 0, 11, 7])
    assert np.array_equal(split.read(order), split.read_all()[order])


@pytest.mark.parametrize("cipher", ["hill", "hill-mod256", "pixel-permutation", "identity", "stream"])
def test_unseal_gives_the_images_back(folder, tmp_path, key, cipher):
    seal(str(folder), tmp_path / "sealed", create_cipher(cipher), key)
    assert unseal(tmp_path / "sealed", tmp_path / "back", key) == 18
    source = open_source(str(folder))
    for split in ("train", "test"):
        for position, item in enumerate(source.read(split, range(source.splits[split]))):
            path = tmp_path / "back" / split / ("cat", "dog")[item.label] / f"{position:06d}.png"
            assert np.array_equal(np.asarray(Image.open(path)).transpose(2, 0, 1), item.decode())


def test_nothing_about_the_originals_is_stored(folder, tmp_path, key):
    (folder / "train" / "cat" / "00.png").rename(folder / "train" / "cat" / "patient-mueller.png")
    seal(str(folder), tmp_path / "a", HILL, key)

    def read_all(root):
        return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())

    everything = read_all(tmp_path / "a")
    for secret in (b"mueller", str(folder).encode(), key.to_bytes(), key.to_bytes().hex().encode()):
        assert secret not in everything
    seal(str(folder), tmp_path / "b", HILL, key, SealOptions(keep_names=True))
    assert b"mueller" in read_all(tmp_path / "b")


def test_workers_give_the_same_bytes(folder, tmp_path, key):
    seal(str(folder), tmp_path / "one", HILL, key, SealOptions(workers=1))
    seal(str(folder), tmp_path / "two", HILL, key, SealOptions(workers=2))
    assert read_files(tmp_path / "one") == read_files(tmp_path / "two")


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, 4])
def test_interrupted_job_resumes_to_the_same_bytes(folder, tmp_path, key, after):
    calls = 0

    def stop_after(done, total):
        nonlocal calls
        calls += 1
        if calls == after:
            raise Stop

    seal(str(folder), tmp_path / "whole", HILL, key)
    with pytest.raises(Stop):
        seal(str(folder), tmp_path / "parts", HILL, key, progress=stop_after)
    with pytest.raises(DataError, match="run the same command again"):
        SealedDataset.open(tmp_path / "parts")
    report = seal(str(folder), tmp_path / "parts", HILL, key)
    assert report.reused == after
    assert read_files(tmp_path / "parts") == read_files(tmp_path / "whole")
    assert seal(str(folder), tmp_path / "parts", HILL, key).reused == 5


def test_resume_redoes_damaged_shards_and_drops_a_torn_journal_line(folder, tmp_path, key):
    seal(str(folder), tmp_path / "whole", HILL, key)
    out = interrupt(folder, tmp_path / "parts", key, after=3)
    shard = sorted((out / "shards").iterdir())[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    (out / "shards" / ".train-00000.safetensors.1.tmp").write_bytes(b"half")
    with (out / "journal.jsonl").open("ab") as file:
        file.write(b'{"fingerprint": "cut sh')
    assert seal(str(folder), out, HILL, key).reused == 3  # of the four recorded
    assert read_files(out) == read_files(tmp_path / "whole")


def interrupt(folder, out, key, after):
    def stop(done, total):
        if done >= after * 4:
            raise Stop

    with pytest.raises(Stop):
        seal(str(folder), out, HILL, key, progress=stop)
    return out


def test_resume_refuses_tampered_and_foreign_jobs(folder, tmp_path, key):
    out = interrupt(folder, tmp_path / "parts", key, after=2)
    with pytest.raises(KeyFailureError, match="wrong key"):
        seal(str(folder), out, HILL, Key(bytes(32)))
    with pytest.raises(DataError, match="other settings"):
        seal(str(folder), out, create_cipher("hill", block=8), key)
    with pytest.raises(DataError, match="other settings"):
        seal(str(folder / "train"), out, HILL, key, SealOptions(Preprocess(size=16)))
    journal = out / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], lines[1].replace(b'"n": 4', b'"n": 3'), *lines[2:]]))
    with pytest.raises(DataError, match="altered"):
        seal(str(folder), out, HILL, key)


def test_finished_data_sets_are_checked_and_not_overwritten(folder, tmp_path, key):
    out = tmp_path / "sealed"
    seal(str(folder), out, HILL, key)
    with pytest.raises(DataError, match="another sealed data set"):
        seal(str(folder), out, create_cipher("hill", block=8), key)
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        seal(str(folder), tmp_path / "busy", HILL, key)
    assert read_files(tmp_path / "busy") == {"thesis.txt": b"mine"}


def test_damaged_shards_are_found(folder, tmp_path, key):
    out = tmp_path / "sealed"
    seal(str(folder), out, HILL, key)
    dataset = SealedDataset.open(out)
    shard = out / "shards" / "test-00000.safetensors"
    good = shard.read_bytes()
    flipped = bytearray(good)
    flipped[-5] ^= 1
    for bad, words in ((bytes(flipped), "damaged"), (good[:-7], "bytes instead of"), (b"", "bytes instead of")):
        shard.write_bytes(bad)
        for action in (dataset.verify, lambda: dataset.split("test"), lambda: unseal(out, tmp_path / "x", key)):
            with pytest.raises(DataError, match=words):
                action()
        assert not (tmp_path / "x").exists()
    dataset.split("train")
    shard.unlink()
    with pytest.raises(DataError, match="missing"):
        dataset.verify()


def test_tampered_manifests_are_found(folder, tmp_path, key):
    out = tmp_path / "sealed"
    seal(str(folder), out, HILL, key)
    path = out / "manifest.json"
    content = json.loads(path.read_text())

    def rewrite(change, fix_checksum):
        from hashlib import sha256

        from cipherlens.files import canonical_json

        altered = json.loads(json.dumps(content))
        change(altered)
        mac = altered.pop("mac")
        if fix_checksum:
            altered.pop("checksum")
            altered["checksum"] = sha256(canonical_json(altered)).hexdigest()
        path.write_text(json.dumps(altered | {"mac": mac}))

    def swap_classes(m):
        m["plan"]["classes"].reverse()

    rewrite(swap_classes, fix_checksum=False)
    with pytest.raises(DataError, match="damaged"):
        SealedDataset.open(out)
    rewrite(swap_classes, fix_checksum=True)
    SealedDataset.open(out)  # without the key a consistent lie cannot be noticed
    with pytest.raises(DataError, match="altered"):
        SealedDataset.open(out, key)
    for name in ("../secret", "/etc/passwd", "a/b"):
        rewrite(lambda m, name=name: m["shards"][0].update(file=name), fix_checksum=True)
        with pytest.raises(DataError, match="outside"):
            SealedDataset.open(out)
    rewrite(lambda m: m["plan"].pop("classes"), fix_checksum=True)
    with pytest.raises(DataError, match="lacks"):
        SealedDataset.open(out)
    rewrite(lambda m: m.update(version=99), fix_checksum=True)
    with pytest.raises(DataError, match="version 99"):
        SealedDataset.open(out)
    for text in ("", "[]", "{", '{"format": "zip"}'):
        path.write_text(text)
        with pytest.raises(DataError):
            SealedDataset.open(out)


def test_wrong_key_is_named(folder, tmp_path, key):
    seal(str(folder), tmp_path / "sealed", HILL, key)
    other = Key(bytes(32))
    with pytest.raises(KeyFailureError, match=key.fingerprint):
        unseal(tmp_path / "sealed", tmp_path / "back", other)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("damage", ["text", "truncated", "empty", "size"])
def test_bad_images_stop_or_are_skipped(folder, tmp_path, key, damage):
    bad = folder / "train" / "dog" / "05.png"
    if damage == "text":
        bad = bad.with_suffix(".jpg")
        bad.write_text("this is a text file")
    elif damage == "truncated":
        bad.write_bytes(bad.read_bytes()[:60])
    elif damage == "empty":
        bad.write_bytes(b"")
    else:
        Image.new("RGB", (20, 16)).save(bad)
    with pytest.raises(DataError, match=r"05\.(png|jpg)") as caught:
        seal(str(folder), tmp_path / "stop", HILL, key)
    assert isinstance(caught.value, ShapeError) == (damage == "size")
    report = seal(str(folder), tmp_path / "skip", HILL, key, SealOptions(on_error="skip", workers=2))
    assert report.skipped_images == 1
    assert "05" in report.skipped[0][0]
    split = SealedDataset.open(tmp_path / "skip").split("train")
    assert len(split) == (12 if damage == "text" else 11)
    assert 8 not in split.index
    assert seal(str(folder), tmp_path / "skip", HILL, key, SealOptions(on_error="skip")).skipped_images == 1


def test_size_and_pad(folder, tmp_path, key):
    Image.new("RGB", (40, 20), (200, 10, 10)).save(folder / "train" / "cat" / "00.png")
    options = SealOptions(Preprocess(size=14, pad=True))
    with pytest.raises(ShapeError, match="pad them"):
        seal(str(folder), tmp_path / "no", HILL, key, SealOptions(Preprocess(size=14)))
    seal(str(folder), tmp_path / "sealed", HILL, key, options)
    dataset = SealedDataset.open(tmp_path / "sealed")
    assert dataset.spec.plain_shape == (3, 14, 14)
    assert dataset.split("train").shape == (3, 16, 16)
    unseal(tmp_path / "sealed", tmp_path / "back", key)
    image = np.asarray(Image.open(tmp_path / "back" / "train" / "cat" / "000000.png"))
    assert image.shape == (14, 14, 3)
    assert (image == (200, 10, 10)).all()


def test_limit_spreads_over_classes(folder, tmp_path, key):
    seal(str(folder), tmp_path / "sealed", HILL, key, SealOptions(limit=4, splits=("train",)))
    split = SealedDataset.open(tmp_path / "sealed").split("train")
    assert split.index.tolist() == [0, 3, 6, 9]
    assert split.labels.tolist() == [0, 0, 1, 1]
    assert pick_evenly(10, None).tolist() == list(range(10))
    with pytest.raises(UsageError, match="train"):
        seal(str(folder), tmp_path / "b", HILL, key, SealOptions(splits=("dev",)))


def test_parquet_source(tmp_path):
    images = smooth_images(5)
    encoded = []
    for number, image in enumerate(images):
        path = tmp_path / f"{number}.png"
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
        encoded.append({"bytes": path.read_bytes(), "path": None})
    info = {"info": {"features": {"label": {"names": ["a", "b"]}}}}
    for split, rows in (("train", [0, 1, 2]), ("test", [3, 4])):
        table = pa.table({"image": [encoded[i] for i in rows], "label": [i % 2 for i in rows]})
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    source = open_source(str(tmp_path))
    assert source.classes == ("a", "b")
    assert source.splits == {"train": 3, "test": 2}
    items = source.read("train", [2, 0])
    assert [item.label for item in items] == [0, 0]
    assert np.array_equal(items[0].decode(), images[2])
    (tmp_path / "train-00000-of-00001.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="Parquet"):
        open_source(str(tmp_path))


def test_cifar_source_reads_torchvision_layout_and_runs_no_code(tmp_path):
    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (root / name).write_bytes(pickle.dumps({"data": data, "labels": [0, 1, 1, 0]}))
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": ["ship", "frog"]}))
    source = open_source(f"cifar10:{tmp_path}")
    assert source.splits == {"train": 20, "test": 4}
    assert np.array_equal(source.read("test", [2])[0].decode(), data[2].reshape(3, 32, 32))

    class Attack:
        def __reduce__(self):
            return os.system, ("touch pwned",)

    (root / "test_batch").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(DataError, match="refused"):
        open_source(f"cifar10:{tmp_path}")
    with pytest.raises(DataError, match="download=True"):
        open_source(f"cifar10:{tmp_path / 'elsewhere'}")


def test_places_without_images(tmp_path):
    with pytest.raises(DataError, match="no images"):
        open_source(str(tmp_path))
    with pytest.raises(DataError, match="image folder"):
        open_source(str(tmp_path / "missing"))


def test_flat_folder_has_no_labels(folder):
    source = open_source(str(folder / "train" / "cat"))
    assert source.classes == ()
    assert {item.label for item in source.read("all", range(6))} == {-1}


def test_kill_in_the_middle_then_the_same_command(folder, tmp_path, key):
    """kill -9 of the whole command, twice, then to the end: the result of an uninterrupted run."""
    for number, image in enumerate(smooth_images(800, size=64, seed=9)):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / "train" / "cat" / f"x{number:04d}.png")
    for path in [*folder.rglob("0?.png"), *folder.rglob("1?.png")]:
        path.unlink()
    Image.fromarray(smooth_images(1, size=64)[0].transpose(1, 2, 0)).save(folder / "test" / "cat" / "a.png")
    key.save(tmp_path / "k.key")
    out = tmp_path / "killed"
    script = (
        "import sys; from cipherlens.data.sealed import job; job.SHARD_BYTES = 500_000\n"
        "from cipherlens.cli.main import run\n"
        f"if __name__ == '__main__': run(['encrypt', {str(folder)!r}, sys.argv[1], "
        f"'--key', {str(tmp_path / 'k.key')!r}, '--block', '8', '--workers', '2'])"
    )
    (tmp_path / "job.py").write_text(script)
    command = [sys.executable, str(tmp_path / "job.py")]
    for shards in (2, 8):
        job = subprocess.Popen([*command, str(out)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list((out / "shards").glob("*.safetensors"))) < shards and time.monotonic() < deadline:
            time.sleep(0.002)
        job.send_signal(signal.SIGKILL)
        assert job.wait() == -signal.SIGKILL
        assert not (out / "manifest.json").exists()
    subprocess.run([*command, str(out)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run(
        [*command, str(tmp_path / "whole")], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert read_files(out) == read_files(tmp_path / "whole")


def test_plan_round_trip_of_the_public_part(folder, key):
    from cipherlens.data.sealed.spec import CipherSpec

    spec = plan_job(str(folder), HILL, key, SealOptions()).spec
    again = CipherSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert dataclasses.asdict(again).items() <= dataclasses.asdict(spec).items()
    with pytest.raises(DataError, match="plain_shape"):
        CipherSpec.from_json({k: v for k, v in spec.to_json().items() if k != "plain_shape"})


def test_safetensors_files_are_the_library_s(tmp_path):
    """Written without the library and read by it, and the other way round."""
    import safetensors.numpy

    from cipherlens.data.sealed.tensors import parse_tensors, serialize

    tensors = {
        "index": np.arange(3),
        "images": np.random.default_rng(0).random((3, 2, 5, 7), dtype=np.float32),
        "small": np.arange(5, dtype=np.uint8),
        "none": np.empty((0, 3), np.float32),
    }
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(b"".join(serialize(tensors, {"a": "ü"})))
    safetensors.numpy.save_file(tensors, theirs)
    loaded = safetensors.numpy.load_file(ours)
    for name, tensor in tensors.items():
        assert np.array_equal(loaded[name], tensor)
        for path in (ours, theirs):
            mapped = parse_tensors(np.fromfile(path, np.uint8))[name]
            assert mapped.dtype == tensor.dtype
            assert np.array_equal(mapped, tensor)
    with safetensors.safe_open(ours, framework="numpy") as file:
        assert file.metadata() == {"a": "ü"}
    for content in (b"", b"\xff" * 20, ours.read_bytes()[:50]):
        with pytest.raises(ValueError):
            parse_tensors(np.frombuffer(content, np.uint8))
