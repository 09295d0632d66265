"""Opening run folders from the command line: which key they need, and whether it is the right one."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cipherlens.ciphers import BoundCipher
from cipherlens.cli.console import say_if_unchecked
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.errors import KeyFailureError
from cipherlens.keys import Key

if TYPE_CHECKING:
    from cipherlens.training.run.load import Run


def open_sealed(sealed: Path, key: Key | None, check: bool = True) -> SealedDataset:
    """A sealed data set, authenticated where the key is given; says where it is not.

    Raises KeyFailureError for another key, unless told not to ``check``: then the set is read as if without one.
    """
    dataset = SealedDataset.open(sealed)
    if key is not None and not check and key.fingerprint != dataset.spec.key_fingerprint:
        key = None
    say_if_unchecked(key, sealed)
    return dataset if key is None else SealedDataset.open(sealed, key)


def open_run(
    run: Path, weights: Literal["best", "last"], key: Key | None, check: bool = True, owner: str | None = None
) -> "tuple[Run, BoundCipher | None]":
    """A run and the cipher that it was locked to (None: not locked).

    ``owner``: whose images a run for several keys is to be asked about, the key's fingerprint.

    Raises KeyFailureError where a locked run is given no key or the wrong one; without ``check`` it works under the
    wrong one, and without any as the plain model.
    """
    from cipherlens.training.run.load import load_run
    from cipherlens.training.run.record import read_record

    record = read_record(run)
    if record.config.lock is None:
        return load_run(run, weights, owner=owner), None
    if key is None and check:
        raise KeyFailureError(
            f"the model is locked with key {record.provenance.get('key_fingerprint')}",
            hint="give the client's --key (test can also --measure-wrong-key)",
        )
    bound = None if key is None else CipherSpec.from_json(record.provenance).bind(key, check)
    return load_run(run, weights, bound, plain=not check), bound
