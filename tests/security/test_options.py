"""Options: a folder's file decides nothing about secrets, limits are numbers, errors have their codes."""

import json
import os

import numpy as np
import pytest

from cipherlens.auditing.thresholds import check_thresholds, parse_limits
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.errors import UsageError
from cipherlens.evaluation.harness import Evaluation
from tests.security.test_links import MADE

KEY = ("--key", MADE / "client.key")
OPTIONS = {
    "cipher": '"identity"',
    "key": '"{key}"',
    "passphrase_file": '"p"',
    "passphrase-file": '"p"',
    "block": "2",
    "orthogonal": "true",
    "per_image": "true",
    "keep_names": "true",
}


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """Somebody else's folder, in which the user happens to be."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("option", OPTIONS)
def test_a_folder_s_file_does_not_decide_who_can_read(call, strange, option):
    value = OPTIONS[option].format(key=MADE / "client.key")
    (strange / "cipherlens.toml").write_text(f"[encrypt]\n{option} = {value}\n")
    # What is given on the command line wins in any case, so that the key is left out where the file has one.
    given = () if option == "key" else KEY
    code, _, err = call("encrypt", MADE / "photos", "sealed", "--size", "16", *given)
    assert code == 2, err
    assert "cipherlens.toml" in err
    assert not (strange / "sealed").exists()


def test_other_options_are_taken_and_the_file_is_named(call, strange):
    (strange / "cipherlens.toml").write_text("[encrypt]\nsize = 16\nlimit = 2\n")
    code, out, err = call("encrypt", MADE / "photos", "sealed", *KEY, "--json")
    assert (code, json.loads(out)["images"]) == (0, 4)
    assert str(strange / "cipherlens.toml") in err
    code, out, err = call("inspect", MADE / "hill")
    assert code == 0
    assert str(strange / "cipherlens.toml") in err


def test_the_command_line_beats_the_file(call, strange):
    (strange / "cipherlens.toml").write_text('[encrypt]\ncipher = "identity"\n')
    code, _, _ = call("encrypt", MADE / "photos", "sealed", *KEY, "--size", "16", "--cipher", "negpos")
    facts = json.loads(call("inspect", "sealed", "--json")[1]) if code == 0 else {"cipher": "negpos"}
    assert facts["cipher"] == "negpos"


@pytest.mark.parametrize(
    "content", [b"[encrypt", b"\xff", b"a = " + b"[" * 5000, b"encrypt = 3", b"[encrypt]\nsize = nan"]
)
def test_damaged_files(call, strange, content):
    (strange / "cipherlens.toml").write_bytes(content)
    code, out, err = call("encrypt", MADE / "photos", "sealed", *KEY)
    assert (code, out) == (2, ""), err


def test_a_pipe_or_link_is_not_read(call, strange, tmp_path):
    os.mkfifo(strange / "cipherlens.toml")
    assert call("ciphers")[0] == 2
    (strange / "cipherlens.toml").unlink()
    (strange / "cipherlens.toml").symlink_to("/dev/zero")
    assert call("ciphers")[0] == 2


@pytest.mark.parametrize("limit", ["nan", "inf", "-inf", "1e999", "30", "-2", "0x1", ""])
def test_limits_are_numbers_that_can_be_exceeded(call, tmp_path, limit):
    with pytest.raises(UsageError):
        parse_limits([f"ssim={limit}"])
    arguments = ("audit", MADE / "hill", "--plain", MADE / "photos", "--out", tmp_path / "r")
    code, _, err = call(*arguments, "--fail-above", f"ssim={limit}")
    assert code == 2, err
    assert not (tmp_path / "r").exists()


def test_sensible_limits_pass():
    assert parse_limits(["ssim=0.3", "psnr=30", "exact_pixels=0"]) == {"ssim": 0.3, "psnr": 30, "exact_pixels": 0}


def make_evaluation(attack, ssim):
    facts = dict.fromkeys(Evaluation.__dataclass_fields__, 0)
    facts |= {
        "attack": attack,
        "threat_model": CIPHERTEXT_ONLY,
        "ssim": ssim,
        "reconstruction": np.empty(0),
        "scored": np.empty(0),
    }
    return Evaluation(**facts)


@pytest.mark.parametrize("order", [1, -1])
def test_a_figure_that_is_no_number_exceeds_every_limit(order):
    evaluations = [make_evaluation("a", 0.1), make_evaluation("b", float("nan")), make_evaluation("c", 0.2)]
    rows = check_thresholds(evaluations[::order], {"ssim": 0.9})
    assert [row["exceeded"] for row in rows] == [True]
    assert check_thresholds(evaluations[:1], {"ssim": 0.9})[0]["exceeded"] is False


@pytest.mark.parametrize(
    "options",
    [
        ["--block", "2.5"],
        ["--block", "4.0"],
        ["--block", "1e1"],
        ["--size", "0"],
        ["--size", "-4"],
        ["--size", "2.5"],
        ["--size", "9" * 400],
        ["--limit", "0"],
        ["--limit", "1.5"],
        ["--workers", "0.5"],
        ["--max-pixels", "0"],
        ["--max-pixels", "9" * 30],
        ["--augment", "-1"],
        ["--augment", "9" * 30],
        ["--augment", "1001"],
    ],
)
def test_numbers_out_of_range_are_usage_errors(call, tmp_path, options):
    code, out, err = call("encrypt", MADE / "photos", tmp_path / "s", *KEY, *options)
    assert (code, out) == (2, ""), err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("every", ["0", "1", "-3", "1" + "0" * 20, "²", "x", "", "9" * 5000])
def test_hold_out(call, tmp_path, every):
    source = f"{MADE / 'photos' / 'train'}?hold_out={every}"
    code, out, err = call("encrypt", source, tmp_path / "s", *KEY, "--size", "16")
    assert (code, out) == (2, ""), err
    assert not (tmp_path / "s").exists()
