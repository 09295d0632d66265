"""The journal of an unfinished sealing job: one authenticated line per finished shard.

A killed job leaves complete shards and this file; the same command reads it and continues. A truncated last line
is dropped. Any other line that does not verify stops the job.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from cipherlens.data.sealed.manifest import Shard, tag
from cipherlens.data.sealed.spec import DatasetSpec, check_fingerprint
from cipherlens.data.storage.base import Storage
from cipherlens.errors import DataError
from cipherlens.files import canonical_json
from cipherlens.keys import Key
from cipherlens.schema import parse
from cipherlens.untrusted import describe, parse_json

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

    def __init__(self, storage: Storage, key: Key, name: str = FILE_NAME, words: "Words | None" = None) -> None:
        self._storage, self._name = storage, name
        self._path = f"{storage}/{name}"
        self._words = words or _SEALING
        self._key = key
        self._place: dict[str, Any] = {}
        self._lines = 0

    def exists(self) -> bool:
        """Whether an unfinished job is recorded; a link in its place, which is refused later, counts too."""
        return self._storage.exists(self._name)

    def name_key(self) -> str | None:
        """The fingerprint in the first line, which nothing authenticates; None where there is none."""
        try:
            return str(parse_json(self._storage.read_log(self._name)[0])["fingerprint"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def start(self, spec: DatasetSpec) -> None:
        """Begin a new job."""
        plan = asdict(spec)
        self._lines = 0
        self._append({"plan": plan})
        self._place = _name_place(plan)

    def add(self, shard: Shard) -> None:
        """Record a shard that is safely on disk."""
        self._append({"shard": asdict(shard)} | self._number(self._lines))

    def resume(self, specs: Sequence[DatasetSpec]) -> tuple[DatasetSpec, dict[str, Shard]]:
        """The recorded one of ``specs``, and its finished shards by file name.

        ``specs`` describe the same job as this and earlier versions write it. Raises KeyFailureError if the job was
        begun with another key, DataError if it was another job or the journal was altered.
        """
        try:
            lines = self._storage.read_log(self._name)
        except OSError as error:
            raise DataError(f"cannot read {self._path}: {describe(error)}", hint=self._words.begin_anew) from None
        records = [self._verify(line) for line in lines]
        if not records:
            self.start(specs[0])
            return specs[0], {}
        spec = _find_spec(records[0].get("plan"), specs)
        if spec is None:
            raise DataError(f"{self._storage} {self._words.another}", hint=self._words.finish)
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
        self._storage.remove_log(self._name)

    def _append(self, record: dict[str, Any]) -> None:
        line = {"fingerprint": self._key.fingerprint, "record": record, "mac": tag(self._key, record)}
        self._storage.append_log(self._name, json.dumps(line).encode(), self._lines)
        self._lines += 1

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
