"""Files of a folder that somebody else may have made: links, pipes and too large ones are refused."""

import os
import shutil
from pathlib import Path

import pytest

from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.errors import DataError
from cipherlens.keys import Key

MADE = Path(__file__).parent.parent / "formats" / "6e12651"
KEY = Key(bytes(range(32)))


@pytest.fixture
def run(tmp_path):
    """A run on plain images, as a provider hands it over, and the client's key beside it."""
    shutil.copytree(MADE / "run-plain", tmp_path / "run")
    shutil.copy(MADE / "client.key", tmp_path / "client.key")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["curves.png", "metrics.jsonl", "last.safetensors", "config.json"])
@pytest.mark.parametrize("command", ["lock", "fold"])
def test_a_link_in_a_run_does_not_publish_the_key(call, run, name, command):
    (run / name).unlink()
    (run / name).symlink_to("../client.key")
    out = run.parent / "out"
    options = ["--sealed", MADE / "permutation"] if command == "fold" else []
    code, _, _ = call(command, run, "--key", run.parent / "client.key", "--out", out, *options)
    secret = (run.parent / "client.key").read_bytes()
    found = [path for path in out.rglob("*") if path.is_file() and path.read_bytes() == secret]
    assert not found
    assert code == (0 if (name, command) == ("curves.png", "lock") else code)
    assert code != 1


def test_what_can_be_drawn_again_is_drawn_again(call, run):
    (run / "curves.png").write_bytes(b"<script>alert(1)</script>")
    code, _, err = call("lock", run, "--key", run.parent / "client.key", "--out", run.parent / "out")
    assert code == 0, err
    assert (run.parent / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (run.parent / "out" / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    for name in ("last.safetensors", "best.safetensors"):
        assert (run.parent / "out" / name).read_bytes() == (run / name).read_bytes()


def make_link(path: Path) -> None:
    kept = path.with_name(f"elsewhere-{path.name}")
    path.rename(kept)
    path.symlink_to(kept.name)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


REPLACEMENTS = [make_link, make_pipe, make_folder, make_device]


@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize("name", ["manifest.json", "shards/train-00000.safetensors"])
def test_files_of_a_sealed_set_are_files(tmp_path, replace, name):
    shutil.copytree(MADE / "hill", tmp_path / "sealed")
    replace(tmp_path / "sealed" / name)
    with pytest.raises(DataError):
        SealedDataset.open(tmp_path / "sealed", KEY).split("train")


def test_the_folder_of_shards_is_no_link(tmp_path):
    shutil.copytree(MADE / "hill", tmp_path / "sealed")
    (tmp_path / "sealed" / "shards").rename(tmp_path / "outside")
    (tmp_path / "sealed" / "shards").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="link"):
        SealedDataset.open(tmp_path / "sealed").split("train")


@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "last.safetensors", "checkpoint/state.json"])
def test_files_of_a_run_are_files(call, run, replace, name):
    replace(run / name)
    for command in (
        ["inspect", run],
        ["lock", run, "--key", run.parent / "client.key", "--out", run.parent / "out"],
        ["test", run, MADE / "plain"],
        ["train", MADE / "plain", "--out", run, "--model", "test_efficientnet", "--epochs", "2"],
    ):
        code, _, err = call(*command)
        assert code in (0, 2, 4), (command[0], err)
    assert not (run.parent / "out").exists() or not (run.parent / "out" / "last.safetensors").is_symlink()


def test_the_folders_themselves_may_be_links(call, tmp_path):
    (tmp_path / "sealed").symlink_to(MADE / "hill")
    (tmp_path / "run").symlink_to(MADE / "run-hill")
    (tmp_path / "client.key").symlink_to(MADE / "client.key")
    assert call("test", tmp_path / "run", tmp_path / "sealed")[0] == 0
    assert call("decrypt", tmp_path / "sealed", tmp_path / "back", "--key", tmp_path / "client.key")[0] == 0


def test_a_manifest_larger_than_any_is_not_read(tmp_path):
    shutil.copytree(MADE / "hill", tmp_path / "sealed")
    with (tmp_path / "sealed" / "manifest.json").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="larger"):
        SealedDataset.open(tmp_path / "sealed")
