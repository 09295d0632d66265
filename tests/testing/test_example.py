"""The example package, installed somewhere else: encrypt, attack and audit with it from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = "synthetic:objects?n=60&test=60&size=32"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, str(ROOT / "examples" / "own-scheme")], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def call(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("work")

    def run(*arguments: str, python: bool = False) -> tuple[int, str, str]:
        start = ["-c"] if python else ["-c", "from cipherlens.cli.main import run; run()"]
        surroundings = {**os.environ, "PYTHONPATH": str(installed)}
        done = subprocess.run(
            [sys.executable, *start, *arguments],
            check=False,
            cwd=place,
            env=surroundings,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    assert run("keygen", "key")[0] == 0
    options = ("--cipher", "row-shift", "--cipher-option", "step=2", "--workers", "2", "--split", "test")
    code, _, err = run("encrypt", SOURCE, "sealed", "--key", "key", *options)
    assert code == 0, err
    return run


def test_it_is_listed_with_its_package(call: Any) -> None:
    assert json.loads(call("ciphers", "--json")[1])["row-shift"]["package"] == "own-scheme 0.1.0"
    assert json.loads(call("attacks", "--json")[1])["row-alignment"]["package"] == "own-scheme 0.1.0"
    assert "from the package own-scheme 0.1.0" in call("attacks")[1]


def test_what_it_seals_comes_back_and_says_what_it_is(call: Any) -> None:
    facts = json.loads(call("inspect", "sealed", "--json")[1])
    assert (facts["cipher"], facts["params"]) == ("row-shift", {"step": 2})
    code, _, err = call("decrypt", "sealed", "plain", "--key", "key")
    assert code == 0, err


def test_its_attack_breaks_it(call: Any) -> None:
    code, out, err = call("attack", "row-alignment", "sealed", "--plain", SOURCE, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["exact_pixels"] == 1
    code, out, _ = call("attack", "known-plaintext", "sealed", "--plain", SOURCE, "--budget", "4", "--json")
    assert code == 0
    assert json.loads(out)["exact_pixels"] > 0.9  # of this package, by what the cipher declares


def test_an_audit_plays_its_attack_with_two_workers(call: Any) -> None:
    options = ("--out", "report", "--workers", "2", "--attacks", "row-alignment", "--json")
    code, out, err = call("audit", "sealed", "--plain", SOURCE, *options)
    assert code == 0, err
    report = json.loads(out)
    assert {row["attack"] for row in report["attacks"]} == {"row-alignment"}
    assert max(row["ssim"] for row in report["attacks"]) > 0.999
    assert all(control["passed"] for control in report["controls"])


def test_an_audit_knows_of_its_attack(call: Any) -> None:
    code, out, err = call("audit", "sealed", "--plain", SOURCE, "--out", "whole", "--minutes", "0.0001", "--json")
    assert code == 0, err
    report = json.loads(out)
    known = {row["attack"] for row in (*report["attacks"], *report["not_run"])}
    assert {"row-alignment", "correlation", "known-plaintext"} <= known


def test_it_keeps_the_rules(call: Any) -> None:
    script = (
        "from cipherlens.testing import check_attack, check_cipher\n"
        "from own_scheme.attack import RowAlignmentAttack\n"
        "from own_scheme.cipher import RowShiftCipher\n"
        "check_cipher(RowShiftCipher(step=2)); check_cipher(RowShiftCipher()); check_attack(RowAlignmentAttack())\n"
    )
    code, _, err = call(script, python=True)
    assert code == 0, err


def test_wrong_options_are_named(call: Any) -> None:
    for option, words in (("step=x", "is not 'x'"), ("stride=2", "no option 'stride=2'"), ("step", "NAME=VALUE")):
        arguments = ("encrypt", SOURCE, "other", "--key", "key", "--cipher", "row-shift", "--cipher-option", option)
        code, _, err = call(*arguments)
        assert code == 2
        assert words in " ".join(err.split())


def test_without_the_package_its_data_says_what_is_missing(call: Any, installed: Path, tmp_path: Path) -> None:
    code, _, err = call(
        "import sys; sys.path.remove(sys.argv[1]); sys.argv[1:] = sys.argv[2:]\n"
        "from cipherlens.cli.main import run; run()",
        str(installed),
        *("decrypt", "sealed", str(tmp_path / "plain"), "--key", "key"),
        python=True,
    )
    assert code == 4
    assert "row-shift" in err and "package" in err
