"""Opening run folders from the command line: which key they need, and whether it is the right one."""

from typing import TYPE_CHECKING

from cipherlens.cli.console import say_if_unchecked
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.storage.url import Place
from cipherlens.keys import Key

if TYPE_CHECKING:
    pass


def open_sealed(sealed: Place, key: Key | None, check: bool = True) -> SealedDataset:
    """A sealed data set, authenticated where the key is given; says where it is not.

    Raises KeyFailureError for another key, unless told not to ``check``: then the set is read as if without one.
    """
    dataset = SealedDataset.open(sealed)
    if key is not None and not check and key.fingerprint != dataset.spec.key_fingerprint:
        key = None
    say_if_unchecked(key, sealed)
    return dataset if key is None else SealedDataset.open(sealed, key)
