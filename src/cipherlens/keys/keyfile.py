"""Key files: text with a version, a comment, a checksum, and optionally a passphrase.

    cipherlens-key: 1
    comment: ward 3, camera 2
    created: 2026-11-21
    fingerprint: 6b1f...
    who_may_hold_it: client only
    protection: none | argon2id-aes256gcm
    salt, nonce, memory-kib, passes, lanes: ...   (with a passphrase only)
    key: base64 of the 32 bytes, or of their AES-256-GCM encryption
    checksum: first 16 hexadecimal digits of the SHA-256 of all lines above

With a passphrase the lines above ``key`` are authenticated along with it.
"""

import base64
import datetime
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from cipherlens.errors import CipherlensError, KeyFailureError, UsageError
from cipherlens.escaping import escape_terminal
from cipherlens.holders import CLIENT, FIELD

VERSION = "1"
WARNING = "# SECRET. Whoever holds this file can decrypt your images. Never give it to a provider."
_PROTECTED = "argon2id-aes256gcm"
_COST = {"memory-kib": 65536, "passes": 3, "lanes": 4}
"""Cost of Argon2id: the second recommended option of RFC 9106 (64 MiB, 3 passes, 4 lanes)."""
_COST_LIMIT = {"memory-kib": 1 << 20, "passes": 16, "lanes": 16}
"""Largest cost that a key file may ask for; it limits memory and time. Chosen by hand."""
_MAX_BYTES = 1 << 20
"""At most this many bytes of a key file are read. A limit on memory."""
_NUMBER = re.compile("[0-9]{1,9}")
_LONGEST_COMMENT = 1_000
"""Maximum characters of a comment. Chosen by hand."""


def write_key_file(
    path: Path, secret: bytes, fingerprint: str, passphrase: str | None = None, comment: str = ""
) -> None:
    """Create ``path`` with mode 0600. Raises UsageError if it exists. A failure leaves no file.

    The file is read back before this returns, because all images would be lost with an unreadable key.
    """
    write_secret(path, format_key(secret, fingerprint, passphrase, comment).encode())
    try:
        if read_key_file(path, passphrase) != (secret, fingerprint):
            raise KeyFailureError(
                f"{path} does not hold the key that was written", hint="write it to another place"
            )
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_secret(path: Path, content: bytes) -> None:
    """Create a file that only its owner can read, from the first byte on. Raises UsageError if it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} exists already; a file with a secret never overwrites another",
            hint="choose another name, or move the old file away first",
        ) from None
    except OSError as error:
        raise CipherlensError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _refuse_open(path: Path) -> None:
    """Raise KeyFailureError for a file of one's own that others may read or write; as ssh does."""
    facts = path.stat()
    if os.name == "posix" and stat.S_ISREG(facts.st_mode) and facts.st_uid == os.getuid() and facts.st_mode & 0o077:
        raise KeyFailureError(
            f"others may read the key file {path} (mode {stat.S_IMODE(facts.st_mode):03o})",
            hint=f"chmod 600 {path}; if somebody may have read it, make a new key",
            parameters=("allow_open_key",),
        )


def read_key_file(path: Path, passphrase: str | None = None, allow_open: bool = False) -> tuple[bytes, str]:
    """The secret of a key file, and its stated fingerprint.

    Raises KeyFailureError for a damaged file, or a wrong or missing passphrase; without ``allow_open`` also for a
    file of one's own that others may read.
    """
    fields = read_fields(path)
    if not allow_open:
        _refuse_open(path)
    if fields["protection"] == "none":
        return _decode(path, fields, "key"), fields["fingerprint"]
    if fields["protection"] == _PROTECTED:
        return _decrypt(path, fields, passphrase), fields["fingerprint"]
    raise KeyFailureError(f"{path}: unknown protection {fields['protection']!r}", hint="update cipherlens")


def is_protected(path: Path) -> bool:
    """Whether a key file needs a passphrase. Raises KeyFailureError for what is no key file."""
    return read_fields(path)["protection"] == _PROTECTED


def read_fields(path: Path) -> dict[str, str]:
    """All fields of a key file, after its checksum was verified; needs no passphrase."""
    try:
        with path.open("rb") as file:  # the user's own file, which may be a link or a pipe
            text = file.read(_MAX_BYTES).decode("utf-8")
    except OSError as error:
        raise KeyFailureError(
            f"cannot read the key file {path}: {error.strerror}", hint="make one with: cipherlens keygen"
        ) from error
    except UnicodeDecodeError:
        raise KeyFailureError(f"{path} is not a cipherlens key file", hint="name a file made by keygen") from None
    body, mark, checksum = text.rpartition("checksum: ")
    # Lines end with a line feed only. A comment may hold other characters at which splitlines() would split.
    lines = [line for line in body.split("\n") if line and not line.startswith("#")]
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    if "cipherlens-key" not in fields:
        raise KeyFailureError(f"{path} is not a cipherlens key file", hint="name a file made by keygen")
    if fields["cipherlens-key"] != VERSION:
        raise KeyFailureError(
            f"{path}: key file version {fields['cipherlens-key']} is not known", hint="update cipherlens"
        )
    if not mark or checksum.strip() != _checksum(body) or not {"protection", "fingerprint", "key"} <= set(fields):
        raise KeyFailureError(f"{path}: damaged key file (checksum does not match)", hint="restore a backup")
    return fields


def format_key(secret: bytes, fingerprint: str, passphrase: str | None, comment: str) -> str:
    """The text of a key file."""
    if comment != escape_terminal(comment):
        raise UsageError(
            "a key's comment is one line of text, without control characters",
            hint=f"remove them: {escape_terminal(comment)[:_LONGEST_COMMENT]}",
        )
    if len(comment) > _LONGEST_COMMENT:
        raise UsageError(f"a key's comment has at most {_LONGEST_COMMENT:,} characters", hint="shorten it")
    header = {
        "cipherlens-key": VERSION,
        "comment": comment,
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "fingerprint": fingerprint,
        FIELD: CLIENT,
    }
    if passphrase is None:
        header["protection"] = "none"
        sealed = secret
    else:
        header |= {"protection": _PROTECTED, "salt": _b64(secrets.token_bytes(16))}
        header |= {"nonce": _b64(secrets.token_bytes(12))} | {name: str(cost) for name, cost in _COST.items()}
        sealed = _cipher(header, passphrase).encrypt(base64.b64decode(header["nonce"]), secret, _associated(header))
    lines = [WARNING, *(f"{name}: {value}" for name, value in header.items()), f"key: {_b64(sealed)}"]
    body = "\n".join(lines) + "\n"
    return f"{body}checksum: {_checksum(body)}\n"


def _decrypt(path: Path, fields: dict[str, str], passphrase: str | None) -> bytes:
    if passphrase is None:
        raise KeyFailureError(
            f"{path} is protected by a passphrase", hint="give the passphrase", parameters=("passphrase_file",)
        )
    header = {name: value for name, value in fields.items() if name != "key"}
    missing = {"salt", "nonce", *_COST} - set(header)
    if missing:
        raise KeyFailureError(f"{path}: damaged key file (no {min(missing)})", hint="restore a backup")
    _decode(path, header, "salt")
    for name, limit in _COST_LIMIT.items():
        value = header[name]
        if not _NUMBER.fullmatch(value) or not 1 <= int(value) <= limit:
            raise KeyFailureError(f"{path}: {name} must be between 1 and {limit}", hint="restore a backup")
    try:
        return _cipher(header, passphrase).decrypt(
            _decode(path, header, "nonce"), _decode(path, fields, "key"), _associated(header)
        )
    except (InvalidTag, ValueError):
        raise KeyFailureError(f"{path}: wrong passphrase (or the file was altered)", hint="try again") from None


def _cipher(header: Mapping[str, str], passphrase: str) -> AESGCM:
    kdf = Argon2id(
        salt=base64.b64decode(header["salt"]),
        length=32,
        iterations=int(header["passes"]),
        lanes=int(header["lanes"]),
        memory_cost=int(header["memory-kib"]),
    )
    return AESGCM(kdf.derive(passphrase.encode("utf-8")))


def _associated(header: Mapping[str, str]) -> bytes:
    return "\n".join(f"{name}: {value}" for name, value in header.items()).encode("utf-8")


def _decode(path: Path, fields: Mapping[str, str], name: str) -> bytes:
    try:
        return base64.b64decode(fields.get(name, ""), validate=True)
    except ValueError:  # binascii.Error, or text that is not ASCII
        raise KeyFailureError(f"{path}: damaged key file (field {name})", hint="restore a backup") from None


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8")).hexdigest()[:16]
