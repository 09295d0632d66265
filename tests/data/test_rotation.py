"""Rotation of a data set's key: what it gives, what readers see meanwhile, and what it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cipherlens.ciphers import create_cipher
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed import job, rotation
from cipherlens.data.sealed import seal as sealing
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.rotation import JOURNAL, discard_rotation, rotate_key
from cipherlens.data.sealed.seal import seal
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
        assert len(manifest.spec.id) == 32 and manifest.counter == 2
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


def kill_before_removing(sealed, monkeypatch):
    def stop(*_):
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(rotation, "_remove_unnamed", stop)
        rotate_key(sealed, OLD, NEW)


def test_killed_after_the_manifest_the_old_shards_go(sealed, monkeypatch):
    kill_before_removing(sealed, monkeypatch)
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
    with pytest.raises(KeyFailureError, match="an unfinished rotation to key"):
        rotate_key(sealed, OLD, OTHER)
    # An adversary moves the journal and the shards to another state of data under the same keys.
    seal(SOURCE + "&seed=9", tmp_path / "more", HILL, OLD, PADDED)
    shutil.copy(sealed / JOURNAL, tmp_path / "more" / JOURNAL)
    with pytest.raises(DataError, match="unfinished rotation of another state"):
        rotate_key(tmp_path / "more", OLD, NEW)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_old_shards_stay_until_the_new_ones_are_known_to_be_whole(damage, sealed, monkeypatch):
    kill_before_removing(sealed, monkeypatch)
    path = sealed / "shards" / "train-00000-2.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x") if damage == "changed" else path.unlink()
    before = read_files(sealed)
    with pytest.raises(DataError, match=r"train-00000-2"):
        rotate_key(sealed, OLD, NEW)
    with pytest.raises(DataError, match=r"train-00000-2"):
        discard_rotation(sealed)
    assert read_files(sealed) == before and (sealed / "shards" / "train-00000.safetensors").exists()


def test_an_old_manifest_put_back_loses_nothing(sealed):
    old = (sealed / "manifest.json").read_bytes()
    rotate_key(sealed, OLD, NEW)
    (sealed / "manifest.json").write_bytes(old)
    shards = sorted((sealed / "shards").iterdir())
    for attempt in (lambda: rotate_key(sealed, OLD, NEW), lambda: discard_rotation(sealed)):
        with pytest.raises(DataError):
            attempt()
    assert sorted((sealed / "shards").iterdir()) == shards


@pytest.mark.parametrize("place", ["link", "file", "nothing"])
def test_shards_elsewhere_are_not_removed(place, sealed, tmp_path, call):
    """A stranger's folder whose shards are a link to those of another set."""
    rotate_key(sealed, OLD, NEW)
    seal(SOURCE, tmp_path / "mine", HILL, OTHER, PADDED)
    before = read_files(tmp_path / "mine")
    shutil.rmtree(sealed / "shards")
    if place == "link":
        (sealed / "shards").symlink_to(tmp_path / "mine" / "shards")
    if place == "file":
        (sealed / "shards").write_text("x")
    assert call("key", "rotate", sealed, "--discard")[0] == 4
    with pytest.raises(DataError):
        rotate_key(sealed, OLD, NEW)
    assert read_files(tmp_path / "mine") == before


def test_the_journal_of_a_finished_rotation_is_cleared_by_the_next(sealed, monkeypatch):
    kill_before_removing(sealed, monkeypatch)
    assert rotate_key(sealed, NEW, OTHER).counter == 3
    assert all(path.name.endswith("-3.safetensors") for path in (sealed / "shards").iterdir())
    assert not (sealed / JOURNAL).exists()


def test_an_altered_journal_says_how_to_give_up(sealed):
    interrupt(sealed)
    lines = (sealed / JOURNAL).read_bytes().splitlines(keepends=True)
    (sealed / JOURNAL).write_bytes(b"".join([lines[0], lines[1].replace(b'"n": ', b'"n": 1')]))
    with pytest.raises(DataError, match="was altered") as found:
        rotate_key(sealed, OLD, NEW)
    assert "--discard" in str(found.value) and "remove" not in str(found.value)
    assert discard_rotation(sealed)
    assert rotate_key(sealed, OLD, NEW).counter == 2


def test_encrypt_beside_a_rotation_advises_no_removal(sealed, monkeypatch):
    read = sealing.read_manifest

    def read_and_rotate(root, key=None):
        monkeypatch.undo()
        found = read(root, key)
        rotate_key(root.root, OLD, NEW)
        return found

    monkeypatch.setattr(sealing, "read_manifest", read_and_rotate)
    with pytest.raises(DataError, match="was changed meanwhile"):
        seal(SOURCE, sealed, HILL, OLD, PADDED)


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
