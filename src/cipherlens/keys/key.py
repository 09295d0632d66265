"""A key is 32 random bytes; subkeys and the fingerprint are derived from it by HKDF-SHA256."""

import hmac
import os
import secrets
import sys
from pathlib import Path
from typing import NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cipherlens.errors import KeyFailureError, UsageError
from cipherlens.keys.keyfile import read_key_file, write_key_file

KEY_BYTES = 32
"""Length of a key: 256 bits, the key length of ChaCha20 (RFC 8439)."""
FINGERPRINT_BYTES = 16
"""Length of a fingerprint: 128 bits. Chosen by hand."""
_SALT = b"cipherlens/v1"


def _own_key() -> UsageError:
    return UsageError(
        "a worker process would make a key of its own, and encrypt with another key than the others",
        hint="make the key once, key.save(PATH), and give workers the path, as in Key.load(PATH)",
    )


def _is_loaders_worker() -> bool:
    loading = sys.modules.get("torch.utils.data")
    return loading is not None and loading.get_worker_info() is not None


def _is_repeated() -> bool:
    """Whether a spawned worker is running the main program's module again."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__mp_main__":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class Key:
    """A secret key. Its bytes appear in no ``repr``, pickle or error; its fingerprint is public.

    Create one with :meth:`generate`, read one with :meth:`load`. Two keys are equal if their bytes are.
    """

    __slots__ = ("__repeated", "__secret")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise UsageError(f"a key is {KEY_BYTES} bytes, not {len(secret)}", hint="use Key.generate()")
        self.__secret = bytes(secret)
        self.__repeated = False

    @classmethod
    def generate(cls) -> "Key":
        """Make a new key from the operating system's random source.

        No worker process has a key of its own: in the workers of PyTorch's DataLoader UsageError is raised. Where a
        spawned worker runs the main program's module again, it is raised when the key is used there.
        """
        if _is_loaders_worker():
            raise _own_key()
        made = cls(secrets.token_bytes(KEY_BYTES))
        made.__repeated = _is_repeated()
        return made

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], passphrase: str | None = None, *, allow_open: bool = False
    ) -> "Key":
        """Read a key file (see :mod:`cipherlens.keys.keyfile`).

        Raises KeyFailureError for a damaged file or a wrong or missing passphrase; also for a file of one's own
        that others may read, unless ``allow_open``.
        """
        secret, fingerprint = read_key_file(Path(path), passphrase, allow_open)
        if len(secret) != KEY_BYTES:
            raise KeyFailureError(
                f"{path}: damaged key file (the key has the wrong length)", hint="restore a backup"
            )
        key = cls(secret)
        if key.fingerprint != fingerprint:
            raise KeyFailureError(f"{path}: the key does not match its fingerprint", hint="restore a backup")
        return key

    def save(self, path: str | os.PathLike[str], passphrase: str | None = None, comment: str = "") -> None:
        """Write a key file, readable by the owner only; an existing file is never overwritten."""
        write_key_file(Path(path), self.__secret, self.fingerprint, passphrase, comment)

    @property
    def fingerprint(self) -> str:
        """Public name of the key: 32 hexadecimal digits that reveal nothing about its bytes."""
        return self._derive(b"fingerprint", FINGERPRINT_BYTES).hex()

    def subkey(self, label: str) -> "Key":
        """Derive an independent key: HKDF-SHA256 with salt ``cipherlens/v1`` and info ``subkey:LABEL``."""
        return Key(self._derive(b"subkey:" + label.encode(), KEY_BYTES))

    def to_bytes(self) -> bytes:
        """Return the 32 secret bytes. Whoever sees them can decrypt everything."""
        if self.__repeated:
            raise _own_key()
        return self.__secret

    def _derive(self, info: bytes, length: int) -> bytes:
        return HKDF(algorithm=SHA256(), length=length, salt=_SALT, info=info).derive(self.to_bytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and hmac.compare_digest(self.__secret, other.to_bytes())

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"Key(fingerprint={self.fingerprint!r})"

    def __reduce__(self) -> NoReturn:
        # A pickled key could end up in a checkpoint or a cache unnoticed.
        raise TypeError("a Key cannot be pickled or copied into a file; save it with key.save(path)")
