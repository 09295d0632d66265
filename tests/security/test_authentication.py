"""Whoever holds the key notices what was altered; whoever has none is told so. What was checked is what is used."""

import hashlib
import json
import os
import shutil
import stat

import numpy as np
import pytest
from PIL import Image

from cipherlens.data.sealed import unseal as unsealing
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.unseal import unseal
from cipherlens.errors import DataError
from cipherlens.files import canonical_json
from cipherlens.keys import Key
from tests.security.test_links import KEY, MADE

KEYFILE = MADE / "client.key"


def forge(sealed, change):
    """Rewrite a manifest as somebody without the key can: with the right checksum and the old MAC."""
    path = sealed / "manifest.json"
    content = json.loads(path.read_text())
    mac = content.pop("mac")
    change(content)
    content.pop("checksum")
    content["checksum"] = hashlib.sha256(canonical_json(content)).hexdigest()
    path.write_text(json.dumps(content | {"mac": mac}))


def reverse_labels(content):
    content["plan"]["classes"].reverse()


def swap_splits(content):
    names = {"train": "test", "test": "train"}
    for shard in content["shards"]:
        shard["split"] = names[shard["split"]]
    content["plan"]["counts"] = {names[name]: count for name, count in content["plan"]["counts"].items()}


@pytest.fixture(params=[reverse_labels, swap_splits])
def altered(request, tmp_path):
    """The permutation set and its locked run, the set altered by somebody else."""
    shutil.copytree(MADE / "permutation", tmp_path / "sealed")
    forge(tmp_path / "sealed", request.param)
    return tmp_path / "sealed"


def list_commands(sealed, out):
    train = ("--model", "test_efficientnet", "--epochs", "1", "--batch-size", "4")
    audit = ("--attacks", "known-plaintext", "--workers", "1")
    return {
        "train": ("train", sealed, "--out", out / "run", *train),
        "test": ("test", MADE / "run-locked", sealed),
        "attack": ("attack", "chosen-plaintext", sealed, "--plain", MADE / "photos"),
        "audit": ("audit", sealed, "--plain", MADE / "photos", "--out", out / "report", *audit),
    }


@pytest.mark.parametrize("name", ["train", "test", "attack", "audit"])
def test_who_has_the_key_notices(call, altered, tmp_path, name):
    code, out, err = call(*list_commands(altered, tmp_path)[name], "--key", KEYFILE)
    assert (code, out) == (4, ""), err
    assert "altered" in err


@pytest.mark.parametrize("name", ["train", "test", "attack", "audit"])
def test_untouched_sets_pass(call, tmp_path, name):
    code, _, err = call(*list_commands(MADE / "permutation", tmp_path)[name], "--key", KEYFILE)
    assert code == 0, err
    assert "not authenticated" not in err


def test_who_has_none_is_told(call, tmp_path):
    hill = MADE / "hill"
    train = ("--model", "test_efficientnet", "--epochs", "1", "--batch-size", "4")
    for command in (
        ("train", hill, "--out", tmp_path / "run", *train),
        ("test", MADE / "run-hill", hill),
        ("attack", "hill-known-plaintext", hill, "--plain", MADE / "photos"),
    ):
        code, _, err = call(*command)
        assert code == 0, err
        assert "not authenticated" in err
    facts = json.loads(call("inspect", hill, "--json")[1])
    assert facts["authenticated"] is False


def test_measuring_with_a_wrong_key_still_works(call, tmp_path):
    Key(bytes(32)).save(tmp_path / "other.key")
    arguments = ("test", MADE / "run-locked", MADE / "permutation", "--key", tmp_path / "other.key")
    assert call(*arguments)[0] == 3
    code, _, err = call(*arguments, "--measure-wrong-key")
    assert (code, "not authenticated" in err) == (0, True)


def test_a_shard_changed_between_check_and_read_gives_no_altered_image(tmp_path, monkeypatch):
    """Each shard is read once; what is decrypted is what was checked."""
    shutil.copytree(MADE / "permutation", tmp_path / "sealed")
    decrypt = unsealing.decrypt_batch

    def alter(*arguments):
        if str(arguments[3][0]).startswith("train"):
            shard = tmp_path / "sealed" / "shards" / "train-00000.safetensors"
            with shard.open("r+b") as file:
                file.seek(-100, os.SEEK_END)
                file.write(bytes(100))
        return decrypt(*arguments)

    monkeypatch.setattr(unsealing, "_BATCH", 2)
    monkeypatch.setattr(unsealing, "decrypt_batch", alter)
    try:
        unseal(tmp_path / "sealed", tmp_path / "back", KEY)
    except DataError:
        assert not (tmp_path / "back").exists()
        return
    monkeypatch.undo()
    unseal(MADE / "permutation", tmp_path / "right", KEY)
    for path in (tmp_path / "right").rglob("*.png"):
        found = tmp_path / "back" / path.relative_to(tmp_path / "right")
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(found)))


def test_a_shard_cut_short_while_it_is_decrypted_is_no_crash(tmp_path, monkeypatch):
    shutil.copytree(MADE / "permutation", tmp_path / "sealed")
    write = unsealing.save_png

    def cut(*arguments):
        for shard in (tmp_path / "sealed" / "shards").iterdir():
            os.truncate(shard, 0)
        return write(*arguments)

    monkeypatch.setattr(unsealing, "_BATCH", 2)
    monkeypatch.setattr(unsealing, "save_png", cut)
    with pytest.raises(DataError):
        unseal(tmp_path / "sealed", tmp_path / "back", KEY)
    assert not (tmp_path / "back").exists()


def test_decrypted_pictures_are_the_owner_s_alone(tmp_path):
    before = os.umask(0)
    try:
        unseal(MADE / "hill", tmp_path / "back", KEY)
        unseal(MADE / "masked", tmp_path / "masks", KEY)
    finally:
        os.umask(before)
    for path in [tmp_path / "back", *(tmp_path / "back").rglob("*"), *(tmp_path / "masks").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_labels_and_shapes_of_a_forged_set_are_checked(tmp_path):
    """Without the key a consistent lie passes, but it cannot reach outside or end in an unknown error."""

    def drop_a_class(content):
        content["plan"]["classes"].pop()

    for number, change in enumerate(
        (
            drop_a_class,
            lambda content: content["plan"].update(ct_shape=[3, 16, 17]),
            lambda content: content["plan"].update(ct_dtype="uint8"),
            lambda content: content["shards"][0].update(n=10**15),
            lambda content: content["shards"].append(content["shards"][0]),
            lambda content: content["shards"][0].update(split="../x"),
            lambda content: content["plan"].update(counts={"../../x": 1}),
            lambda content: content["plan"].update(masked=True),
            lambda content: content["plan"].update(padded_shape=[3, 2**40, 2**40]),
            lambda content: content.update(extra=1),
        )
    ):
        sealed = tmp_path / str(number)
        shutil.copytree(MADE / "hill", sealed)
        forge(sealed, change)
        with pytest.raises(DataError):
            dataset = SealedDataset.open(sealed)
            for split in dataset.splits:
                dataset.split(split)
