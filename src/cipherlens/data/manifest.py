"""The manifest of a sealed data set: what a provider may know, checked before anything is believed.

``manifest.json`` names format version, cipher and public parameters, key fingerprint, shapes, dtype, classes,
and every shard with its SHA-256. ``checksum`` finds accidents without a key; ``mac`` (HMAC-SHA256 under a
subkey) finds tampering, for the holder of the key.
"""

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from cipherlens.ciphers import BoundCipher, create_cipher
from cipherlens.data.files import canonical_json, write_atomic
from cipherlens.errors import DataError, KeyFailure
from cipherlens.keys import Key

FORMAT = "cipherlens-sealed"
VERSION = 1
FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """One shard file: its name inside ``shards/``, number of images, size and hash."""

    file: str
    split: str
    n: int
    bytes: int
    sha256: str
    skipped: int = 0


@dataclass(frozen=True)
class Scheme:
    """How images were prepared and encrypted: what a client needs, besides the key, to do it again.

    ``plain_shape`` is that of the resized image, ``padded_shape`` the one that was encrypted.
    """

    cipher: str
    params: dict[str, Any]
    key_fingerprint: str
    plain_shape: tuple[int, int, int]
    padded_shape: tuple[int, int, int]
    size: int | None
    pad: bool

    def public(self) -> dict[str, Any]:
        """The scheme's own fields, JSON-able: what a run folder says of its training data."""
        return {field.name: _jsonable(getattr(self, field.name)) for field in fields(Scheme)}

    @classmethod
    def from_public(cls, values: dict[str, Any]) -> "Scheme":
        """Inverse of :meth:`public`; raises DataError if something is missing."""
        try:
            chosen = {field.name: values[field.name] for field in fields(Scheme)}
        except KeyError as error:
            raise DataError(f"how the images were encrypted is not recorded: no {error}") from None
        return cls(**{**chosen, **{name: tuple(chosen[name]) for name in ("plain_shape", "padded_shape")}})

    def bind(self, key: Key, check: bool = True) -> BoundCipher:
        """The bound cipher; raises KeyFailure if the key is another one, unless told not to ``check``."""
        if check:
            check_fingerprint(self.key_fingerprint, key)
        return create_cipher(self.cipher, **self.params).bind(key, self.padded_shape)


def _jsonable(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Plan(Scheme):
    """What a data set is: everything that is known before the first image is encrypted."""

    ct_shape: tuple[int, int, int]
    ct_dtype: str
    classes: tuple[str, ...]
    counts: dict[str, int]
    shard_images: int
    source_tag: str
    """Keyed digest of the source's name: tells the client whether a job is the same, and others nothing."""
    masked: bool = False
    """Whether every image has a mask, a class per pixel, rearranged like the image."""
    augment: int = 0
    """Variants of each training image that follow the images themselves."""


def choose_split(plan: Plan) -> str:
    """The split that attacks look at where nobody says: the test images, if there are any."""
    return "test" if "test" in plan.counts else next(iter(plan.counts))


@dataclass(frozen=True)
class Manifest:
    """A plan and the shards that carry it out."""

    plan: Plan
    shards: tuple[Shard, ...] = field(default=())


def tag(key: Key, value: Any) -> str:
    """HMAC-SHA256 of a JSON value under the key's manifest subkey, hexadecimal."""
    return hmac.digest(key.subkey("sealed-manifest").to_bytes(), canonical_json(value), "sha256").hex()


def write_manifest(root: Path, manifest: Manifest, key: Key) -> None:
    """Write ``manifest.json`` atomically."""
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
    content["checksum"] = hashlib.sha256(canonical_json(content)).hexdigest()
    content["mac"] = tag(key, content)
    write_atomic(root / FILE_NAME, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def read_manifest(root: Path, key: Key | None = None) -> Manifest:
    """Read and check ``manifest.json``; with a key its fingerprint and MAC too.

    Raises DataError for a damaged or tampered manifest, KeyFailure for another key.
    """
    path = root / FILE_NAME
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{root} is not a sealed data set (no {FILE_NAME})",
            hint="make one with: cipherlens encrypt; if a job was interrupted, run the same command again",
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint=_RESTORE) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path} is not a manifest of a sealed data set", hint=_RESTORE)
    if content.get("version") != VERSION:
        raise DataError(f"{path} has format version {content.get('version')}", hint="update cipherlens")
    _check_integrity(path, content, key)
    return parse_manifest(path, content)


_RESTORE = "restore it from a backup, or encrypt again"


def _check_integrity(path: Path, content: dict[str, Any], key: Key | None) -> None:
    mac = str(content.pop("mac", ""))
    plan = content.get("plan")
    fingerprint = plan.get("key_fingerprint") if isinstance(plan, dict) else None
    if key is not None:
        check_fingerprint(str(fingerprint), key)
        if not hmac.compare_digest(mac, tag(key, content)):
            raise DataError(f"{path} was altered after it was written", hint=_RESTORE)
    checksum = content.pop("checksum", None)
    if checksum != hashlib.sha256(canonical_json(content)).hexdigest():
        raise DataError(f"{path} is damaged (checksum does not match)", hint=_RESTORE)


def check_fingerprint(fingerprint: str, key: Key) -> None:
    """Raise KeyFailure unless ``key`` is the one with this fingerprint."""
    if fingerprint != key.fingerprint:
        raise KeyFailure(
            f"wrong key: the data was sealed with {fingerprint}, this key is {key.fingerprint}",
            hint="give the key file with that fingerprint (cipherlens inspect KEYFILE shows it)",
        )


def parse_manifest(path: Path, content: dict[str, Any]) -> Manifest:
    """JSON content -> Manifest; DataError if fields are missing or name files outside the data set."""
    try:
        plan = dict(content["plan"])
        for name in ("plain_shape", "padded_shape", "ct_shape", "classes"):
            plan[name] = tuple(plan[name])
        manifest = Manifest(Plan(**plan), tuple(Shard(**shard) for shard in content["shards"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} lacks something a manifest has: {error}", hint=_RESTORE) from None
    for shard in manifest.shards:
        if Path(shard.file).name != shard.file or shard.file in {"", ".", ".."}:
            raise DataError(f"{path} names a shard outside the data set: {shard.file!r}", hint=_RESTORE)
    return manifest
