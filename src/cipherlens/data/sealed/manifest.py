"""The manifest of a sealed data set: the facts that a provider may know. It is checked before it is used.

``manifest.json`` names format version, cipher and public parameters, key fingerprint, shapes, dtype, classes, and
every shard with its SHA-256. ``checksum`` detects accidental damage without a key. ``mac`` (HMAC-SHA256 under a
subkey) detects tampering, for the holder of the key.
"""

import datetime
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from cipherlens.ciphers import BoundCipher, Cipher, create_cipher
from cipherlens.ciphers.structure import KeyStructure
from cipherlens.data.decoding import MAX_PIXELS, Rules
from cipherlens.data.images import Preprocess
from cipherlens.errors import DataError, KeyFailureError, UsageError
from cipherlens.files import canonical_json, write_atomic
from cipherlens.keys import Key
from cipherlens.schema import Count, ImageShape, Sha256, Side, parse
from cipherlens.untrusted import JSON_LIMIT, describe, parse_json, read_untrusted

FORMAT = "cipherlens-sealed"
VERSIONS = (1, 2)
"""Format versions that are read. Sets of version 1 have no id, no time and no counter."""
FILE_NAME = "manifest.json"
SHARDS = "shards"
RESTORE = "copy it again from where it was made, restore a backup, or encrypt again"

PLAIN = "identity"
"""Name of the cipher that leaves images as they are."""
NO_KEY = "0" * 32
"""Fingerprint in records of photos that nobody has sealed."""
Fingerprint = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
SplitName = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.safetensors")
Dtype = Annotated[str, Meta(pattern="^(uint8|float32)$")]
SetId = Annotated[str, Meta(pattern="^([0-9a-f]{32})?$")]
Moment = Annotated[str, Meta(pattern="^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$")]


@dataclass(frozen=True)
class Shard:
    """One shard file: its name inside ``shards/``, number of images, size and hash."""

    file: Annotated[str, Meta(max_length=200)]
    split: SplitName
    n: Count
    bytes: Count
    sha256: Sha256
    skipped: Count = 0


@dataclass(frozen=True)
class CipherSpec:
    """Preprocessing and encryption of images: what a client needs, besides the key, to repeat them.

    ``plain_shape`` is the shape of the resized image, ``padded_shape`` the shape that was encrypted. ``window``
    maps images of more than 8 bits (see ``data/depth.py``); None: there are none.
    """

    cipher: str
    params: dict[str, Any]
    key_fingerprint: Fingerprint
    plain_shape: ImageShape
    padded_shape: ImageShape
    size: Side | None
    pad: bool
    window: Annotated[str, Meta(max_length=200)] | None = field(default=None, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """The fields of this class as JSON values, which a run folder records of its training data."""
        return {field.name: _jsonable(getattr(self, field.name)) for field in fields(CipherSpec)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CipherSpec":
        """Inverse of :meth:`to_json`. Raises DataError if a field is missing or of the wrong type."""
        names = {field.name for field in fields(CipherSpec)}
        try:
            return parse({name: value for name, value in values.items() if name in names}, CipherSpec)
        except ValueError as error:
            raise DataError(f"how the images were encrypted is not recorded: {error}") from None

    def create_cipher(self) -> Cipher:
        """The cipher, without a key. Raises DataError where the record names no known cipher."""
        try:
            cipher = create_cipher(self.cipher, **self.params)
            repr(cipher.params)  # fails here for a composition that is nested too deeply
        except UsageError as error:
            hint = "if it is of another package, install that; else copy the data again from where it was made"
            raise DataError(f"the record names no known cipher: {error.args[0]}", hint=hint) from None
        except Exception as error:  # parameters of any type, from an untrusted file
            raise DataError(f"the record names no known cipher: {error}", hint=RESTORE) from None
        return cipher

    def structure(self) -> KeyStructure:
        """What the cipher may do to these images, as everybody may know."""
        return self.create_cipher().structure(self.padded_shape)

    def preprocess(self, max_pixels: int = MAX_PIXELS) -> Preprocess:
        """What is done with an image before it is encrypted. Raises DataError for an impossible record."""
        try:
            return Preprocess(self.size, self.pad, max_pixels, Rules(self.plain_shape[0], self.window))
        except UsageError as error:
            raise DataError(f"how images become pixels is not recorded: {error.args[0]}", hint=RESTORE) from None

    def bind(self, key: Key, check: bool = True) -> BoundCipher:
        """The bound cipher. With ``check``, raises KeyFailureError for a key of another fingerprint."""
        if check:
            check_fingerprint(self.key_fingerprint, key)
        return self.create_cipher().bind(key, self.padded_shape)


def _jsonable(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class DatasetSpec(CipherSpec):
    """Specification of a data set, complete before the first image is encrypted.

    ``to_json`` returns the fields of :class:`CipherSpec` only.
    """

    ct_shape: ImageShape
    ct_dtype: Dtype
    classes: tuple[str, ...]
    counts: dict[SplitName, Count]
    shard_images: Side
    source_tag: str
    """Keyed digest of the source's name and files. Only the client can compare it with a source."""
    masked: bool = False
    """Whether every image has a mask (one class per pixel), rearranged like the image."""
    augment: Count = 0
    """Variants of each training image; they follow the images themselves."""
    hold_out: Count = 0
    """Every so many images of each class of the source, which has no splits, are the test split (0: none)."""
    id: SetId = ""
    """Random name of the data set. It is part of every image's own key. Empty in format version 1."""


def choose_split(spec: DatasetSpec) -> str:
    """The default split of attacks: the test images, if there are any, else the first split.

    Where the client held its test images out of one folder, an eavesdropper has most use of the larger part.
    """
    if spec.hold_out:
        return max(spec.counts, key=lambda name: spec.counts[name])
    return "test" if "test" in spec.counts else next(iter(spec.counts))


@dataclass(frozen=True)
class Manifest:
    """A specification (the key "plan" in the file), and the shards that hold the images.

    ``created`` is the UTC time at which it was finished. ``counter`` grows with every later state of the same data
    set, so that whoever remembers it notices an older one.
    """

    spec: DatasetSpec
    shards: tuple[Shard, ...] = field(default=())
    created: Moment = ""
    counter: Count = 0


def draw_id() -> str:
    """A new data set's id: 16 random bytes, hexadecimal."""
    return secrets.token_hex(16)


def tell_time() -> str:
    """Now, in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def tag(key: Key, value: Any) -> str:
    """HMAC-SHA256 of a JSON value under the key's manifest subkey, hexadecimal."""
    return hmac.digest(key.subkey("sealed-manifest").to_bytes(), canonical_json(value), "sha256").hex()


def write_manifest(root: Path, manifest: Manifest, key: Key) -> None:
    """Write ``manifest.json`` atomically."""
    facts = asdict(manifest)
    version = 2 if manifest.spec.id else 1  # a job that an earlier version began is finished in its format
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": version,
        "plan": facts["spec"],
        "shards": facts["shards"],
    }
    if version == 2:
        content |= {"created": manifest.created, "counter": manifest.counter}
    content["checksum"] = hashlib.sha256(canonical_json(content)).hexdigest()
    content["mac"] = tag(key, content)
    write_atomic(root / FILE_NAME, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def read_manifest(root: Path, key: Key | None = None) -> Manifest:
    """Read and check ``manifest.json``; with a key also its fingerprint and MAC.

    Raises DataError for a damaged or tampered manifest, KeyFailureError for another key.
    """
    path = root / FILE_NAME
    try:
        content = parse_json(read_untrusted(path, JSON_LIMIT, root))
    except FileNotFoundError:
        raise DataError(
            f"{root} is not a sealed data set (no {FILE_NAME})",
            hint="make one with: cipherlens encrypt; if a job was interrupted, run the same command again",
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {describe(error)}", hint=RESTORE) from None
    if content.get("format") != FORMAT:
        raise DataError(f"{path} is not a manifest of a sealed data set", hint=RESTORE)
    if content.get("version") not in VERSIONS:
        raise DataError(f"{path} has format version {content.get('version')}", hint="update cipherlens")
    _check_integrity(path, content, key)
    return parse_manifest(path, content)


def _check_integrity(path: Path, content: dict[str, Any], key: Key | None) -> None:
    mac = str(content.pop("mac", ""))
    plan = content.get("plan")
    fingerprint = plan.get("key_fingerprint") if isinstance(plan, dict) else None
    if key is not None:
        check_fingerprint(str(fingerprint), key)
        if not hmac.compare_digest(mac.encode(), tag(key, content).encode()):
            raise DataError(f"{path} was altered after it was written", hint=RESTORE)
    checksum = content.pop("checksum", None)
    if checksum != hashlib.sha256(canonical_json(content)).hexdigest():
        raise DataError(f"{path} is damaged (checksum does not match)", hint=RESTORE)


def check_fingerprint(fingerprint: str, key: Key) -> None:
    """Raise KeyFailureError unless ``key`` is the one with this fingerprint."""
    if fingerprint != key.fingerprint:
        raise KeyFailureError(
            f"wrong key: the data was sealed with {fingerprint}, this key is {key.fingerprint}",
            hint="give the key file with that fingerprint (cipherlens inspect KEYFILE shows it)",
        )


def parse_manifest(path: Path, content: dict[str, Any]) -> Manifest:
    """JSON content -> Manifest. Raises DataError where a field is missing, of the wrong type, or inconsistent."""
    try:
        added = {"created", "counter"} if content["version"] == 2 else set()
        if set(content) != {"format", "version", "plan", "shards"} | added:
            raise ValueError(f"its fields are {', '.join(sorted(content))}")
        parse(content["plan"], DatasetSpec)  # refuses missing and additional fields
        named = {"spec": content["plan"], "shards": content["shards"]} | {name: content[name] for name in added}
        manifest = parse(named, Manifest)
        if bool(manifest.spec.id) != (content["version"] == 2) or bool(manifest.created) != bool(added):
            raise ValueError("its id or its time is not that of its version")
        for shard in manifest.shards:
            if not _SHARD_NAME.fullmatch(shard.file):
                raise ValueError(f"a shard outside the data set: {shard.file!r}")
        if len({shard.file for shard in manifest.shards}) < len(manifest.shards):
            raise ValueError("a shard is named twice")
        if unknown := {shard.split for shard in manifest.shards} - set(manifest.spec.counts):
            raise ValueError(f"a shard of an unknown split {min(unknown)}")
    except ValueError as error:
        raise DataError(f"{path} lacks something a manifest has: {error}", hint=RESTORE) from None
    return manifest
