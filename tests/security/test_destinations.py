"""Where results are written: never into what is read, never over anything of the user's."""

import json
import shutil
from pathlib import Path

import pytest

from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed import shards
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.shards import ShardMaker
from cipherlens.data.sources.registry import canonical_source
from cipherlens.data.storage.opening import open_storage
from cipherlens.errors import DataError
from cipherlens.keys import Key
from tests.security.test_links import MADE

CIPHER = create_cipher("identity")


@pytest.fixture
def keyfile(tmp_path, key):
    key.save(tmp_path / "client.key")
    return tmp_path / "client.key"


@pytest.mark.parametrize(
    ("place", "suffix"),
    [
        (".", ""),
        ("_sealed", ""),
        *((f"train/{name}", every) for name in ("_sealed", "cat") for every in ("", "?hold_out=3")),
    ],
)
def test_a_destination_inside_its_source_is_refused(call, folder, keyfile, place, suffix):
    source = folder / "train" if suffix else folder
    code, _, err = call("encrypt", f"{source}{suffix}", folder / place, "--key", keyfile, "--workers", "2")
    assert code == 2, err
    assert "inside" in err
    assert not list(folder.rglob("manifest.json"))


def test_a_link_does_not_hide_that(call, folder, keyfile, tmp_path):
    (tmp_path / "alias").symlink_to(folder)
    assert call("encrypt", folder, tmp_path / "alias" / "sealed", "--key", keyfile)[0] == 2


def test_decrypting_into_the_sealed_set_is_refused(call, tmp_path):
    shutil.copytree(MADE / "hill", tmp_path / "sealed")
    code, _, err = call("decrypt", tmp_path / "sealed", tmp_path / "sealed" / "back", "--key", MADE / "client.key")
    assert (code, "inside" in err) == (2, True)


def test_a_worker_checks_that_its_source_is_the_plan_s(folder, tmp_path, key):
    """Whatever makes the folder look different to a worker: its labels would be wrong."""
    from cipherlens.data.sealed.job import plan_job

    source = canonical_source(str(folder))
    job = plan_job(source, CIPHER, key, SealOptions())
    maker = ShardMaker(source, open_storage(tmp_path / "out"), job.spec, SealOptions(), job.cipher)
    assert maker.open(key).classes == ("cat", "dog")
    (folder / "train" / "aardvark").mkdir()
    shutil.copy(folder / "train" / "cat" / "00.png", folder / "train" / "aardvark" / "00.png")
    with pytest.raises(DataError, match="changed"):
        maker.open(key)
    with pytest.raises(DataError, match="changed"):
        shards._start_worker(maker, key.to_bytes())


def test_one_process_lists_a_source_once_for_each_job(call, folder, tmp_path, keyfile):
    """An opened source was kept for the next job, so that images added in between had the labels of others."""
    options = ("--key", keyfile, "--cipher", "identity", "--workers", "1")
    assert call("encrypt", folder, tmp_path / "a", *options)[0] == 0
    for split in ("train", "test"):
        (folder / split / "ant").mkdir()
        shutil.copy(folder / split / "dog" / "01.png", folder / split / "ant" / "01.png")
    assert call("encrypt", folder, tmp_path / "b", *options)[0] == 0
    split = SealedDataset.open(tmp_path / "b").split("train")
    assert split.classes == ("ant", "cat", "dog")
    assert split.labels.tolist() == [0] + 6 * [1] + 6 * [2]
    assert (split.read_all()[0] == split.read_all()[7]).all()


def test_a_folder_of_the_user_s_beside_the_destination_stays(call, tmp_path):
    mine = tmp_path / ".back.partial"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    assert call("decrypt", MADE / "hill", tmp_path / "back", "--key", MADE / "client.key")[0] == 0
    assert (mine / "notes.txt").read_text() == "mine"
    shutil.copytree(MADE / "run-plain", tmp_path / "run")
    (tmp_path / ".locked.partial").mkdir()
    assert call("lock", tmp_path / "run", "--key", MADE / "client.key", "--out", tmp_path / "locked")[0] == 0
    assert (tmp_path / ".locked.partial").is_dir()


COMMANDS = ["encrypt", "decrypt", "train", "lock", "audit", "export-data"]


def write_to(out: Path, command: str) -> list:
    """The arguments of a command whose destination is ``out``."""
    key = ["--key", MADE / "client.key"]
    return {
        "encrypt": ["encrypt", MADE / "photos", out, *key, "--size", "16"],
        "decrypt": ["decrypt", MADE / "hill", out, *key],
        "train": ["train", MADE / "hill", "--out", out, "--model", "test_efficientnet", "--epochs", "1"],
        "lock": ["lock", MADE / "run-plain", "--out", out, *key],
        "export-data": ["export-data", MADE / "hill", "--out", out],
        "audit": ["audit", MADE / "hill", "--plain", MADE / "photos", "--out", out, "--attacks", "covariance"],
    }[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_destination_that_is_a_file(call, tmp_path, command):
    out = tmp_path / "file"
    out.write_text("mine")
    for place in (out, out / "inner", out / "further" / "in"):
        code, _, err = call(*write_to(place, command))
        assert code == 2, err
        assert str(out) in err
    assert out.read_text() == "mine"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_destination_that_is_a_link_to_nowhere(call, tmp_path, command):
    out = tmp_path / "link"
    out.symlink_to("nowhere")
    for place in (out, out / "inner"):
        code, _, err = call(*write_to(place, command))
        assert code == 2, err
        assert str(out) in err
    assert out.is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_source_that_changed_between_interruption_and_continuation(folder, tmp_path, key, monkeypatch):
    from cipherlens.data.sealed.seal import seal

    monkeypatch.setattr("cipherlens.data.sealed.job.SHARD_BYTES", 4 * 3 * 16 * 16)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seal(str(folder), tmp_path / "sealed", CIPHER, key, progress=stop)
    photo = folder / "train" / "cat" / "00.png"
    content = photo.read_bytes()
    photo.unlink()
    (folder / "train" / "cat" / "99.png").write_bytes(content)  # the same count, another order
    with pytest.raises(DataError, match="changed"):
        seal(str(folder), tmp_path / "sealed", CIPHER, key)


def test_a_finished_set_of_a_source_that_has_changed_since(call, folder, tmp_path, keyfile):
    arguments = ("encrypt", folder, tmp_path / "s", "--key", keyfile)
    assert call(*arguments)[0] == 0
    assert call(*arguments)[0] == 0
    (folder / "train" / "cat" / "00.png").unlink()
    code, _, err = call(*arguments)
    assert (code, "changed" in err or "another" in err) == (4, True)


@pytest.mark.parametrize("left", [[], ["shards"], ["shards", ".lock"], [".lock"]])
def test_a_job_killed_at_its_very_beginning_can_be_continued(folder, tmp_path, key, left):
    from cipherlens.data.sealed.seal import seal

    out = tmp_path / "sealed"
    out.mkdir()
    for name in left:
        (out / name).mkdir() if name == "shards" else (out / name).write_bytes(b"half")
    assert seal(str(folder), out, CIPHER, key).images == 18
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "shards"]


def test_an_audit_leaves_no_plain_images_behind(call, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    arguments = ("audit", MADE / "hill", "--plain", MADE / "photos", "--out", tmp_path / "r")
    code, out, err = call(*arguments, "--attacks", "hill-known-plaintext", "--workers", "1", "--json")
    assert code == 0, err
    assert json.loads(out)["attacks"]
    assert not list((tmp_path / "tmp").iterdir())


def test_the_key_of_the_tests_is_the_key_of_the_formats():
    assert Key.load(MADE / "client.key") == Key(bytes(range(32)))
    assert Path(MADE / "hill" / "manifest.json").is_file()
