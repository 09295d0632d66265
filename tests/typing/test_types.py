"""What a user's type checkers see: NumPy in, NumPy out, torch in, torch out; and the README's programs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

PROGRAM = Path(__file__).parent / "program.py"
README = (Path(__file__).parents[2] / "README.md").read_text()
STORIES = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def programs(tmp_path: Path) -> list[Path]:
    """The small program, and those of the README, without an ignore."""
    made = [tmp_path / "program.py", *(tmp_path / f"readme_{number}.py" for number in range(len(STORIES)))]
    for path, text in zip(made, [PROGRAM.read_text(), *STORIES], strict=True):
        path.write_text(text)
    return made


def test_mypy_is_content(programs: list[Path], tmp_path: Path):
    """Strict, with an ignore that is not needed as an error: so the wrong lines are found as such."""
    run("mypy", "--strict", "--config-file=", "--cache-dir", tmp_path / "cache", *programs)


def test_pyright_is_content(programs: list[Path], tmp_path: Path):
    """The same; pyright ignores a whole line, whatever the name of the error."""
    settings = {
        "include": [path.name for path in programs],
        "typeCheckingMode": "strict",
        "reportUnnecessaryTypeIgnoreComment": "error",
        "reportMissingTypeStubs": "none",  # of safetensors and others, below us
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    run("basedpyright", "--pythonpath", sys.executable, "--project", tmp_path)


def run(checker: str, *arguments: object) -> None:
    command = [sys.executable, "-m", checker, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
