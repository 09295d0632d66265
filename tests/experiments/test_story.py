"""Client, provider and auditor on the command line, one after the other, on a few generated images."""

import json

import numpy as np
import pytest
from PIL import Image

from cipherlens.cli.main import execute
from cipherlens.data.synthetic import dataset as synthetic
from cipherlens.keys import Key

SOURCE = "synthetic:objects?n=120&test=80"


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A key, a sealed data set and a run of one epoch."""
    root = tmp_path_factory.mktemp("story")
    Key(bytes(range(32))).save(root / "client.key")
    Key(bytes(32)).save(root / "other.key")
    assert execute(["encrypt", SOURCE, str(root / "sealed"), "--key", str(root / "client.key")]) == 0
    train = [
        "train",
        str(root / "sealed"),
        "--out",
        str(root / "run"),
        "--adapt",
        "--epochs",
        "1",
        "--threads",
        "1",
    ]
    assert execute(train) == 0
    return root


def call(capsys, *arguments):
    code = execute([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_run_folder_and_inspect(story, capsys):
    names = {path.name for path in (story / "run").iterdir()}
    assert {"config.json", "metrics.jsonl", "last.safetensors", "best.safetensors", "curves.png"} <= names
    code, out, _ = call(capsys, "inspect", story / "run", "--json")
    facts = json.loads(out)
    assert (code, facts["kind"], facts["adaptation_block"], facts["cipher"]) == (0, "run", 4, "hill")
    secret = Key(bytes(range(32))).to_bytes()
    for path in (story / "run").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert secret not in content
            assert secret.hex().encode() not in content


def test_test_refuses_images_of_another_key(story, capsys):
    code, out, _ = call(capsys, "test", story / "run", story / "sealed", "--json")
    assert code == 0
    assert json.loads(out)["n"] == 80
    assert execute(["encrypt", SOURCE, str(story / "foreign"), "--key", str(story / "other.key")]) == 0
    capsys.readouterr()
    code, _, err = call(capsys, "test", story / "run", story / "foreign")
    assert code == 3
    assert "--measure-wrong-key" in err
    assert call(capsys, "test", story / "run", story / "foreign", "--measure-wrong-key")[0] == 0


def test_predict_encrypts_with_the_client_s_key(story, capsys, tmp_path):
    from cipherlens.data.sealed.dataset import SealedDataset

    image = synthetic.generate(synthetic.parse_name("objects").indices("test")[:1]).images[0]
    Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", SealedDataset.open(story / "sealed").split("test").read(np.array([0]))[0])
    code, out, _ = call(
        capsys,
        "predict",
        story / "run",
        tmp_path / "a.png",
        tmp_path / "a.npy",
        "--key",
        story / "client.key",
        "--json",
    )
    assert code == 0
    plain, sealed = json.loads(out)["predictions"].values()
    assert plain == sealed
    assert call(capsys, "predict", story / "run", tmp_path / "a.png")[0] == 2
    assert call(capsys, "predict", story / "run", tmp_path / "a.png", "--key", story / "other.key")[0] == 3
    (tmp_path / "text.jpg").write_text("no picture")
    key = ("--key", story / "client.key")
    assert call(capsys, "predict", story / "run", tmp_path / "text.jpg", *key)[0] == 4
    Image.new("RGB", (40, 32)).save(tmp_path / "wide.png")
    assert call(capsys, "predict", story / "run", tmp_path / "wide.png", *key)[0] == 4


def test_attack_prints_one_object_and_a_picture(story, capsys, tmp_path):
    picture = tmp_path / "rows.png"
    code, out, _ = call(
        capsys, "attack", "covariance", story / "sealed", "--plain", SOURCE, "--pictures", picture, "--json"
    )
    result = json.loads(out)
    assert code == 0
    assert {"attack", "threat_model", "budget", "n", "ssim", "psnr", "seconds"} <= set(result)
    assert result["n"] == result["budget"] == 80
    assert result["ssim"] > 0.7
    assert Image.open(picture).size[0] > 600


def test_audit_exits_5_above_the_limit(story, capsys, tmp_path):
    command = ("audit", story / "sealed", "--plain", SOURCE, "--out", tmp_path / "report", "--run", story / "run")
    few = ("--attacks", "covariance,known-plaintext")
    code, out, err = call(capsys, *command, "--fail-above", "ssim=0.3", "--json", *few)
    assert code == 5
    assert "above 0.3" in err
    report = json.loads(out)
    assert all(control["passed"] for control in report["controls"])
    assert report["accuracy"][0]["adaptation"] is True
    assert (tmp_path / "report" / "report.html").stat().st_size > 50_000
    assert json.loads((tmp_path / "report" / "report.json").read_text())["verdict"] == "readable"
    assert call(capsys, *command, "--fail-above", "psnr=100", "--attacks", "known-plaintext")[0] == 0


def test_other_source_as_plain_is_noticed(story, capsys):
    code, _, err = call(
        capsys, "attack", "covariance", story / "sealed", "--plain", "synthetic:objects?n=50&test=20"
    )
    assert code == 4
    assert "fewer images" in err
