"""Tests of cipherlens.

Git keeps no modes of files, so the key files of tests/formats are made private here, as their owners have them.
"""

from pathlib import Path

for path in (Path(__file__).parent / "formats").glob("*/*.key"):
    path.chmod(0o600)
