"""The journal of an unfinished sealing job: one authenticated line per finished shard.

A killed job leaves complete shards and this file; the same command reads it and continues. A truncated last line
is dropped. Any other line that does not verify stops the job.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from cipherlens.data.sealed.manifest import Shard, tag
from cipherlens.data.sealed.spec import DatasetSpec, check_fingerprint
from cipherlens.errors import DataError
from cipherlens.files import canonical_json
from cipherlens.keys import Key
from cipherlens.schema import parse
from cipherlens.untrusted import JSON_LIMIT, describe, parse_json, read_untrusted

FILE_NAME = "journal.jsonl"


@dataclass(frozen=True)
class Words:
    """What a job is called, and what helps where its journal is unusable."""

    another: str
    finish: str
    begin_anew: str


_SEALING = Words(
    "holds an unfinished job with other settings or another source, or the source has changed",
    "finish it with its own command and source, or choose another destination",
    "remove the unfinished data set and encrypt it again",
)


class Journal:
    """Append-only record of a spec and its finished shards, of a sealing job or (``name``) of another."""

    def __init__(self, root: Path, key: Key, name: str = FILE_NAME, words: "Words | None" = None) -> None:
        self._path = root / name
        self._words = words or _SEALING
        self._key = key
        self._place: dict[str, Any] = {}
        self._lines = 0

    def exists(self) -> bool:
        """Whether an unfinished job is recorded; a link in its place, which is refused later, counts too."""
        return os.path.lexists(self._path)

    def name_key(self) -> str | None:
        """The fingerprint in the first line, which nothing authenticates; None where there is none."""
        try:
            line = read_untrusted(self._path, JSON_LIMIT, self._path.parent).partition(b"\n")[0]
            return str(parse_json(line)["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def start(self, spec: DatasetSpec) -> None:
        """Begin a new job."""
        plan = asdict(spec)
        self._append({"plan": plan})
        self._place, self._lines = _name_place(plan), 1

    def add(self, shard: Shard) -> None:
        """Record a shard that is safely on disk."""
        self._append({"shard": asdict(shard)} | self._number(self._lines))
        self._lines += 1

    def resume(self, specs: Sequence[DatasetSpec]) -> tuple[DatasetSpec, dict[str, Shard]]:
        """The recorded one of ``specs``, and its finished shards by file name.

        ``specs`` describe the same job as this and earlier versions write it. Raises KeyFailureError if the job was
        begun with another key, DataError if it was another job or the journal was altered.
        """
        try:
            lines = read_untrusted(self._path, JSON_LIMIT, self._path.parent).split(b"\n")
        except OSError as error:
            raise DataError(f"cannot read {self._path}: {describe(error)}", hint=self._words.begin_anew) from None
        if lines[-1]:  # truncated by a kill: drop it, so that the next record starts on a new line
            with self._open(os.O_RDWR) as file:
                file.truncate(os.fstat(file.fileno()).st_size - len(lines[-1]))
        records = [self._verify(line) for line in lines[:-1]]
        if not records:
            self.start(specs[0])
            return specs[0], {}
        spec = _find_spec(records[0].get("plan"), specs)
        if spec is None:
            raise DataError(f"{self._path.parent} {self._words.another}", hint=self._words.finish)
        self._place, self._lines = _name_place(records[0]["plan"]), len(records)
        try:
            shards = [parse(record.get("shard"), Shard) for record in records[1:]]
        except ValueError:
            raise self._altered() from None
        for number, record in enumerate(records[1:], 1):
            if record != {"shard": record["shard"]} | self._number(number):
                raise self._altered()  # a line of another job, or in another place
        return spec, {shard.file: shard for shard in shards}

    def _number(self, number: int) -> dict[str, Any]:
        """What a line says of its job and its place; in a job of format version 1 it says neither."""
        return self._place | {"number": number} if self._place else {}

    def remove(self) -> None:
        """Remove the journal of a finished job."""
        self._path.unlink()

    def _append(self, record: dict[str, Any]) -> None:
        line = {"fingerprint": self._key.fingerprint, "record": record, "mac": tag(self._key, record)}
        with self._open(os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _open(self, flags: int) -> BinaryIO:
        return os.fdopen(
            os.open(self._path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666), "r+b" if flags & os.O_RDWR else "ab"
        )

    def _verify(self, line: bytes) -> dict[str, Any]:
        try:
            content = parse_json(line)
            record, mac, fingerprint = dict(content["record"]), str(content["mac"]), str(content["fingerprint"])
        except (ValueError, KeyError, TypeError):
            raise self._altered() from None
        check_fingerprint(fingerprint, self._key)
        if not hmac.compare_digest(mac.encode(), tag(self._key, record).encode()):
            raise self._altered()
        return record

    def _altered(self) -> DataError:
        return DataError(f"{self._path} was altered", hint=self._words.begin_anew)


def _name_place(plan: dict[str, Any]) -> dict[str, Any]:
    """What every line says of its job: the data set's id, and the hash of the plan as the first line has it."""
    return {"id": plan["id"], "plan": hashlib.sha256(canonical_json(plan)).hexdigest()} if plan.get("id") else {}


def _find_spec(recorded: Any, specs: Sequence[DatasetSpec]) -> DatasetSpec | None:
    """The one of ``specs`` that is recorded, with the recorded id."""
    # Fields that an earlier version did not record have their defaults.
    defaults = {field.name: field.default for field in fields(DatasetSpec) if field.default is not MISSING}
    if not isinstance(recorded, dict):
        return None  # not the first line
    plan = defaults | recorded
    found = json.dumps(plan, sort_keys=True)
    same = (replace(spec, id=plan["id"]) for spec in specs)
    return next((spec for spec in same if json.dumps(asdict(spec), sort_keys=True) == found), None)
