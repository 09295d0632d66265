"""The example's Dockerfile and compose file, by linters: no container is started here."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "service"
RULES = "{extends: default, rules: {line-length: {max: 120}, document-start: disable}}"


@pytest.mark.full
def test_the_files_are_clean() -> None:
    programs = Path(sys.executable).parent
    for words in (
        [programs / "hadolint", FOLDER / "Dockerfile"],
        [programs / "yamllint", "--strict", "-d", RULES, *sorted(FOLDER.glob("*.yaml"))],
    ):
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
