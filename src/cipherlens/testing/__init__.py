"""Checks for ciphers and attacks of other packages, as those of this package pass them."""

from cipherlens.testing.attacks import check_attack
from cipherlens.testing.ciphers import check_cipher
from cipherlens.testing.report import CheckError

__all__ = ["CheckError", "check_attack", "check_cipher"]
