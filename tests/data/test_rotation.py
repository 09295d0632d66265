"""Rotation of a data set's key: what it gives, what readers see meanwhile, and what it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cipherlens.ciphers import create_cipher
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed import job, rotation
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.rotation import JOURNAL, discard_rotation, rotate_key
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sealed.shards import SealOptions
from cipherlens.data.sealed.unseal import unseal
from cipherlens.errors import CipherlensError, DataError, KeyFailureError, UsageError
from cipherlens.keys import Key
from tests.conftest import read_files

OLD, NEW, OTHER = (Key(bytes([number]) * 32) for number in (1, 2, 3))
SOURCE = "synthetic:tiny?n=60&test=30&size=18"
MASKED = "synthetic:objects?n=12&test=6&size=30&masks=1"
PADDED = SealOptions(Preprocess(pad=True), keep_names=True, augment=1)
HILL = create_cipher("hill", block=4)
FORMATS = Path(__file__).parents[1] / "formats"
SCHEMES = {
    "hill": (SOURCE, HILL),
    "a key per image": (SOURCE, create_cipher("negpos", per_image=True)),
    "half bytes": (SOURCE, create_cipher("ele", block=4)),
    "composed": (SOURCE, create_cipher("negpos+pixel-permutation")),
    "identity": (SOURCE, create_cipher("identity")),
    "masks": (MASKED, create_cipher("pixel-permutation")),
}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(job, "SHARD_BYTES", 30_000)
    monkeypatch.setattr(job, "draw_id", lambda: "ab" * 16)


@pytest.fixture
def sealed(tmp_path):
    seal(SOURCE, tmp_path / "set", HILL, OLD, PADDED)
    return tmp_path / "set"


def read_shards(root):
    """The bytes of shards in the manifest's order."""
    return [(root / "shards" / shard.file).read_bytes() for shard in SealedDataset.open(root).manifest.shards]


class Stop(Exception):
    pass


def interrupt(root, new=NEW, after=2):
    done = 0

    def stop(*_):
        nonlocal done
        done += 1
        if done == after:
            raise Stop

    with pytest.raises(Stop):
        rotate_key(root, OLD, new, progress=stop)


@pytest.mark.parametrize(("name", "workers"), [*((name, 1) for name in SCHEMES), ("hill", 2)])
def test_a_rotated_set_is_one_sealed_with_the_new_key(name, workers, tmp_path):
    """Shard by shard the bytes of a set that was sealed from the source, for the same id."""
    source, cipher = SCHEMES[name]
    for key, place in ((OLD, "set"), (NEW, "direct")):
        seal(source, tmp_path / place, cipher, key, PADDED)
    report = rotate_key(tmp_path / "set", OLD, NEW, workers)
    rotated, direct = (SealedDataset.open(tmp_path / place, NEW) for place in ("set", "direct"))
    assert report.shards == len(rotated.manifest.shards) > 2 and report.reused == 0
    assert read_shards(rotated.root) == read_shards(direct.root)
    assert (rotated.spec.id, rotated.manifest.counter) == (direct.spec.id, 2)
    assert {path.name for path in rotated.root.iterdir()} == {"manifest.json", "shards"}
    assert len(list((rotated.root / "shards").iterdir())) == report.shards
    for place in ("set", "direct"):
        unseal(tmp_path / place, tmp_path / f"{place}-pictures", NEW)
    assert read_files(tmp_path / "set-pictures") == read_files(tmp_path / "direct-pictures") != {}
    with pytest.raises(KeyFailureError):
        SealedDataset.open(rotated.root, OLD)


def test_sets_of_version_one_become_sets_of_version_two(tmp_path):
    old = Key(bytes(range(32)))
    for name in ("hill", "etc-per-image", "masked"):
        root = tmp_path / name
        shutil.copytree(FORMATS / "6e12651" / name, root)
        unseal(root, tmp_path / f"{name}-before", old)
        rotate_key(root, old, NEW)
        manifest = SealedDataset.open(root, NEW).manifest
        assert len(manifest.spec.id) == 32 and manifest.counter == 1
        unseal(root, tmp_path / f"{name}-after", NEW)
        assert read_files(tmp_path / f"{name}-before") == read_files(tmp_path / f"{name}-after") != {}


def test_rotated_again_it_counts_on(sealed):
    rotate_key(sealed, OLD, NEW)
    before = read_files(sealed)
    again = rotate_key(sealed, OLD, NEW)
    assert again.reused == again.shards and read_files(sealed) == before
    assert rotate_key(sealed, NEW, OTHER).counter == 3
    assert SealedDataset.open(sealed, OTHER).manifest.counter == 3
    with pytest.raises(DataError, match="was rotated"):
        seal(SOURCE, sealed, HILL, OTHER, PADDED)


def test_interrupted_it_goes_on(sealed, tmp_path):
    shutil.copytree(sealed, tmp_path / "whole")
    rotate_key(tmp_path / "whole", OLD, NEW)
    before = SealedDataset.open(sealed, OLD).split("train").read_all()
    interrupt(sealed)
    assert np.array_equal(SealedDataset.open(sealed, OLD).split("train").read_all(), before)
    unfinished = sorted((sealed / "shards").glob("*-2.safetensors"))
    unfinished[0].write_bytes(b"damaged")
    report = rotate_key(sealed, OLD, NEW)
    assert report.reused == len(unfinished) - 1 > 0
    assert read_files(sealed) == read_files(tmp_path / "whole")


def test_killed_after_the_manifest_the_old_shards_go(sealed, monkeypatch):
    def stop(*_):
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(rotation, "_remove_unnamed", stop)
        rotate_key(sealed, OLD, NEW)
    assert (sealed / JOURNAL).exists()
    SealedDataset.open(sealed, NEW).verify()
    report = rotate_key(sealed, OLD, NEW)
    assert report.reused == report.shards == len(list((sealed / "shards").iterdir()))
    assert not (sealed / JOURNAL).exists()


def test_readers_see_one_state_or_an_error(sealed):
    loaded, opened = SealedDataset.open(sealed, OLD).split("test"), SealedDataset.open(sealed)
    before = loaded.read_all().copy()
    rotate_key(sealed, OLD, NEW)
    assert np.array_equal(loaded.read_all(), before)
    with pytest.raises(DataError, match="was changed after it was opened"):
        opened.split("test")


def test_an_unfinished_rotation_belongs_to_its_keys_and_its_state(sealed, tmp_path):
    shutil.copytree(sealed, tmp_path / "other")
    interrupt(sealed)
    with pytest.raises(KeyFailureError):
        rotate_key(sealed, OLD, OTHER)
    # An adversary moves the journal and the shards to another state of data under the same keys.
    seal(SOURCE + "&seed=9", tmp_path / "more", HILL, OLD, PADDED)
    shutil.copy(sealed / JOURNAL, tmp_path / "more" / JOURNAL)
    with pytest.raises(DataError, match="other settings or another source"):
        rotate_key(tmp_path / "more", OLD, NEW)


def test_discard_leaves_the_set_as_it_was(sealed, call):
    before = read_files(sealed)
    (sealed / "shards" / "notes.safetensors").write_text("mine")
    interrupt(sealed)
    code, out, _ = call("key", "rotate", sealed, "--discard")
    assert code == 0 and "3 files" in out
    assert read_files(sealed) == before | {"shards/notes.safetensors": b"mine"}
    assert discard_rotation(sealed) == []


@pytest.mark.parametrize("damage", ["shard", "manifest", "key", "same", "missing"])
def test_what_is_refused_changes_nothing(damage, sealed, tmp_path):
    keys = {"key": (OTHER, NEW), "same": (OLD, OLD)}.get(damage, (OLD, NEW))
    if damage == "shard":
        path = sealed / "shards" / "test-00000.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    if damage == "manifest":
        path = sealed / "manifest.json"
        path.write_text(path.read_text().replace('"counter": 1', '"counter": 7'))
    root = tmp_path / "nothing" if damage == "missing" else sealed
    named = {path.name for path in (sealed / "shards").iterdir()}
    error = {"key": KeyFailureError, "same": UsageError}.get(damage, DataError)
    with pytest.raises(error):
        rotate_key(root, *keys)
    assert not (tmp_path / "nothing").exists() and not (sealed / ".lock").exists()
    if damage != "shard":  # shards before the damaged one are made, and kept for the next run
        assert {path.name for path in (sealed / "shards").iterdir()} == named
    assert SealedDataset.open(sealed) if damage != "manifest" else True


def test_an_unfinished_sealing_job_is_finished_first(tmp_path, monkeypatch):
    from cipherlens.data.sealed.journal import Journal

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Journal, "remove", lambda _: (_ for _ in ()).throw(Stop))
        seal(SOURCE, tmp_path / "set", HILL, OLD, PADDED)
    with pytest.raises(DataError, match="unfinished sealing job"):
        rotate_key(tmp_path / "set", OLD, NEW)
    seal(SOURCE, tmp_path / "set", HILL, OLD, PADDED)
    assert rotate_key(tmp_path / "set", OLD, NEW).counter == 2


def test_the_command(sealed, tmp_path, call):
    for key, name in ((OLD, "old.key"), (NEW, "new.key")):
        key.save(tmp_path / name)
    code, _, err = call("key", "rotate", sealed)
    assert code == 2 and "--from OLD.key" in err
    keys = ("--from", tmp_path / "old.key", "--to", tmp_path / "new.key", "--workers", "1")
    code, out, err = call("key", "rotate", sealed, *keys)
    assert code == 0 and f"now sealed with key {NEW.fingerprint}" in out
    assert "copies made before stay readable with the old key" in err
    (tmp_path / "old.key").chmod(0o644)
    assert call("key", "rotate", sealed, *keys)[0] == 3
    assert CipherlensError.exit_code == 1
