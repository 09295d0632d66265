"""What a user's type checker sees: NumPy in, NumPy out, torch in, torch out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

PROGRAM = Path(__file__).parent / "program.py"


def test_a_users_program_is_checked(tmp_path):
    """Strict, with an ignore that is not needed as an error: so the wrong lines are found as such."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", tmp_path, PROGRAM]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ, check=False)
    assert result.returncode == 0, result.stdout
