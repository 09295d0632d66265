"""cl.seal, cl.recommend, cl.train, cl.adapt: what the commands do, with the same files."""

import json
import logging
from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")

import cipherlens as cl
from cipherlens.cli.main import execute
from cipherlens.errors import KeyFailureError, UsageError

SOURCE = "synthetic:objects?n=80&test=20&size=32"
KEYS = [cl.Key(bytes([number]) * 32) for number in (1, 2)]
HILL = cl.create_cipher("hill", block=4)
QUICK = {"epochs": 1, "batch_size": 20, "threads": 1, "precision": "float32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("train")
    for number, key in enumerate(KEYS):
        cl.seal(SOURCE, made / f"sealed-{number}", HILL, key)
    cl.seal(SOURCE, made / "shuffled", cl.create_cipher("pixel-permutation"), KEYS[0])
    return made


def test_recommended_is_what_the_command_takes(folder, tmp_path):
    options = ["--adapt", "--epochs", "1", "--batch-size", "20", "--threads", "1", "--precision", "float32"]
    assert execute(["train", str(folder / "sealed-0"), *options, "--out", str(tmp_path / "command")]) == 0
    config = cl.recommend(folder / "sealed-0", adapt=True, **QUICK)
    assert (config.start, config.adapt_block) == ("ciphertexts", 4)
    run = cl.train(folder / "sealed-0", config, out=tmp_path / "python")
    assert run.accuracy == run.history[-1].test_accuracy and run.tested and run.cipher == "hill"
    records = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("command", "python")]
    assert records[0] == records[1]
    weights = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("command", "python")]
    assert weights[0] == weights[1]


def test_a_models_recipe_is_recommended_for_what_it_sees(folder):
    read, unread = (cl.recommend(folder / "sealed-0", "speednet", adapt=way) for way in (True, False))
    assert read.lookahead and unread.lookahead and read.flip and not unread.flip
    plain = cl.recommend(None, "speednet", label_smoothing=0.1)
    assert plain.flip and plain.label_smoothing == 0.1 and plain.adapt_block is None
    assert not cl.recommend(folder / "shuffled", "preresnet20", lock="shuffled").flip
    with pytest.raises(UsageError, match="no adaptation network"):
        cl.recommend(None, adapt=True)


def test_one_more_owner_and_several(folder, tmp_path, caplog):
    config = cl.recommend(folder / "sealed-0", adapt=True, **QUICK)
    cl.train(folder / "sealed-0", config, out=tmp_path / "run")
    with caplog.at_level(logging.WARNING, "cipherlens"):
        record = cl.adapt(tmp_path / "run", folder / "sealed-1", out=tmp_path / "adapted")
    assert [owner.provenance["key_fingerprint"] for owner in record.owners] == [key.fingerprint for key in KEYS]
    assert "can decrypt the images" in caplog.text
    both = [folder / "sealed-0", folder / "sealed-1"]
    unread = replace(cl.recommend(both, adapt=True, **QUICK), start="random")
    joint = cl.train(both, unread, out=tmp_path / "joint")
    assert joint.learned is None and joint.accuracy >= 0
    with pytest.raises(UsageError, match="share a model only through"):
        cl.train(both, cl.TrainConfig("preresnet20", **QUICK), out=tmp_path / "none")


def test_plain_photos_and_a_locked_model(folder, tmp_path):
    run = cl.train(SOURCE, cl.recommend(None, **QUICK), out=tmp_path / "plain", plain=True)
    assert run.cipher == "identity" and run.history[-1].test_accuracy is not None
    config = cl.TrainConfig("preresnet20", lock="shuffled", **QUICK)
    locked = cl.train(folder / "shuffled", config, out=tmp_path / "locked", key=KEYS[0])
    assert locked.config.lock == "shuffled" and locked.learned is not None
    with pytest.raises(KeyFailureError):
        cl.train(folder / "shuffled", config, out=tmp_path / "wrong", key=KEYS[1])
    with pytest.raises(UsageError, match="these are hill"):
        cl.train(folder / "sealed-0", config, out=tmp_path / "hill", key=KEYS[0])
    with pytest.raises(UsageError, match="need no key"):
        cl.train(SOURCE, out=tmp_path / "keyed", plain=True, key=KEYS[0])
    with pytest.raises(UsageError, match="for plain photos"):
        cl.train(folder / "sealed-0", out=tmp_path / "sized", preprocess=cl.Preprocess(32))
    with pytest.raises(UsageError, match="one source"):
        cl.train([SOURCE, SOURCE], out=tmp_path / "two", plain=True)
    for key in (None, KEYS[0]):
        with pytest.raises(UsageError, match="nothing to train on"):
            cl.train([], cl.TrainConfig("preresnet20"), out=tmp_path / "empty", key=key)
    with pytest.raises(UsageError, match="need no adaptation network"):
        cl.train(SOURCE, cl.TrainConfig("preresnet20", adapt_block=4), out=tmp_path / "front", plain=True)
    with pytest.raises(UsageError, match="with the client's key"):
        cl.train(folder / "shuffled", config, out=tmp_path / "keyless")


def test_several_owners_have_adaptation_networks_by_default(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("cipherlens.api.training.fit", lambda config, *_: configs.append(config) or 1 / 0)
    configs = []
    with pytest.raises(ZeroDivisionError):
        cl.train([folder / "sealed-0", folder / "sealed-1"], out=tmp_path / "two")
    assert configs[0].adapt_block == 4


def test_notes_are_said_once_with_options_that_a_command_has(folder, tmp_path, capsys):
    logging.basicConfig(force=True)
    try:
        photos = tmp_path / "photos"
        cl.unseal(folder / "sealed-0", tmp_path / "pictures", KEYS[0])
        (tmp_path / "pictures" / "test").rename(photos)
        arguments = [str(photos), str(tmp_path / "again"), "--key", str(tmp_path / "client.key")]
        KEYS[0].save(tmp_path / "client.key")
        assert execute(["encrypt", *arguments, "--block", "4", "--hold-out", "0"]) == 0
        capsys.readouterr()
        assert execute(["train", str(photos), "--plain", "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
        err = capsys.readouterr().err
        assert err.count("training images, so accuracy") == 1
    finally:
        logging.basicConfig(force=True, handlers=[])


def test_lists():
    assert "hill" in cl.list_ciphers() and "covariance" in cl.list_attacks()
    assert "neighbours" in cl.list_attacks(cl.create_cipher("negpos"))
    hill = cl.list_attacks(HILL)
    assert {"covariance", "known-plaintext", "chosen-plaintext"} <= set(hill) and "levels" not in hill
    assert cl.list_attacks(cl.create_cipher("etc", block=4), (3, 32, 32)) == cl.list_attacks(
        cl.create_cipher("etc", block=4)
    )
