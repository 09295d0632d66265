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
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Annotated, Any

from msgspec import Meta

from cipherlens.data.sealed.spec import RESTORE, DatasetSpec, SplitName, check_fingerprint
from cipherlens.data.storage.base import Storage
from cipherlens.errors import DataError
from cipherlens.files import canonical_json
from cipherlens.holders import FIELD
from cipherlens.keys import Key
from cipherlens.schema import Count, Sha256, parse
from cipherlens.untrusted import JSON_LIMIT, describe, parse_json

FORMAT = "cipherlens-sealed"
VERSIONS = (1, 2)
"""Format versions that are read. Sets of version 1 have no id, no time and no counter."""
FILE_NAME = "manifest.json"
SHARDS = "shards"
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.safetensors")
_ROWS = 10_000
"""Rows whose text is in memory at a time. Chosen by hand."""
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


def tell_time(ahead: datetime.timedelta = datetime.timedelta()) -> str:
    """Now, or so much later, in UTC, to the second."""
    return (datetime.datetime.now(datetime.UTC) + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")


def tag(key: Key, value: Any) -> str:
    """HMAC-SHA256 of a JSON value under the key's manifest subkey, hexadecimal."""
    return hmac.digest(key.subkey("sealed-manifest").to_bytes(), canonical_json(value), "sha256").hex()


def tag_rows(key: Key, values: Sequence[Any], rows: Iterable[Any]) -> str:
    """``tag(key, [*values, rows])``, without the text of millions of rows in memory."""
    running = hmac.new(key.subkey("sealed-manifest").to_bytes(), digestmod="sha256")
    running.update(canonical_json([*values, []])[:-2])
    left, comma = iter(rows), b""
    while part := list(islice(left, _ROWS)):
        running.update(comma + canonical_json(part)[1:-1])
        comma = b","
    running.update(b"]]")
    return running.hexdigest()


def write_manifest(storage: Storage, manifest: Manifest, key: Key) -> None:
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
        content |= {"created": manifest.created, "counter": manifest.counter, FIELD: manifest.spec.holder}
    content["checksum"] = hashlib.sha256(canonical_json(content)).hexdigest()
    content["mac"] = tag(key, content)
    storage.write(FILE_NAME, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def read_manifest(storage: Storage, key: Key | None = None) -> Manifest:
    """Read and check ``manifest.json``; with a key also its fingerprint and MAC.

    Raises DataError for a damaged or tampered manifest, KeyFailureError for another key.
    """
    path = f"{storage}/{FILE_NAME}"
    try:
        content = parse_json(storage.read(FILE_NAME, JSON_LIMIT))
    except FileNotFoundError:
        raise DataError(
            f"{storage} is not a sealed data set (no {FILE_NAME})",
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


def _check_integrity(path: str, content: dict[str, Any], key: Key | None) -> None:
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


def parse_manifest(path: object, content: dict[str, Any]) -> Manifest:
    """JSON content -> Manifest. Raises DataError where a field is missing, of the wrong type, or inconsistent."""
    try:
        added = {"created", "counter"} if content["version"] == 2 else set()
        if set(content) - {FIELD} != {"format", "version", "plan", "shards"} | added:
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
    if manifest.spec.store or manifest.spec.channels:
        raise DataError(f"{path} stores images in a way that this version does not know", hint="update cipherlens")
    return manifest
