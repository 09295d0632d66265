"""The journal of an unfinished sealing job: one authenticated line per finished shard.

A job that is killed leaves whole shards and this file; the same command reads it and goes on. A last line
cut short by the kill is dropped, any other line that does not verify stops the job.
"""

import hmac
import json
import os
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from cipherlens.data.manifest import Plan, Shard, check_fingerprint, tag
from cipherlens.errors import DataError
from cipherlens.keys import Key

FILE_NAME = "journal.jsonl"


class Journal:
    """Append-only record of a plan and its finished shards."""

    def __init__(self, root: Path, key: Key) -> None:
        self._path = root / FILE_NAME
        self._key = key

    def exists(self) -> bool:
        """Whether an unfinished job is recorded."""
        return self._path.exists()

    def start(self, plan: Plan) -> None:
        """Begin a new job."""
        self._append({"plan": asdict(plan)})

    def add(self, shard: Shard) -> None:
        """Record a shard that is safely on disk."""
        self._append({"shard": asdict(shard)})

    def resume(self, plan: Plan) -> dict[str, Shard]:
        """Shards already made, by file name.

        Raises KeyFailure if the job was begun with another key, DataError if it was another job or the
        journal was altered.
        """
        lines = self._path.read_bytes().split(b"\n")
        if lines[-1]:  # cut short by a kill: drop it, so that what is appended starts on a line of its own
            with self._path.open("r+b") as file:
                file.truncate(self._path.stat().st_size - len(lines[-1]))
        records = [self._verify(line, plan) for line in lines[:-1]]
        if not records:
            self.start(plan)
            return {}
        # What a plan did not have when the job began has its default.
        defaults = {field.name: field.default for field in fields(Plan) if field.default is not MISSING}
        recorded = json.dumps(defaults | dict(records[0].get("plan") or {}), sort_keys=True)
        if recorded != json.dumps(asdict(plan), sort_keys=True):
            raise DataError(
                f"{self._path.parent} holds an unfinished job with other settings or another source",
                hint="finish it with its own command, or choose another destination",
            )
        shards = [Shard(**record["shard"]) for record in records[1:]]
        return {shard.file: shard for shard in shards}

    def remove(self) -> None:
        """The job is done."""
        self._path.unlink()

    def _append(self, record: dict[str, Any]) -> None:
        line = {"fingerprint": self._key.fingerprint, "record": record, "mac": tag(self._key, record)}
        with self._path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _verify(self, line: bytes, plan: Plan) -> dict[str, Any]:
        try:
            content = json.loads(line)
            record, mac, fingerprint = dict(content["record"]), str(content["mac"]), content["fingerprint"]
        except (ValueError, KeyError, TypeError):
            raise self._altered() from None
        check_fingerprint(fingerprint, self._key)
        if not hmac.compare_digest(mac, tag(self._key, record)):
            raise self._altered()
        return record

    def _altered(self) -> DataError:
        return DataError(f"{self._path} was altered", hint="remove the unfinished data set and encrypt it again")
