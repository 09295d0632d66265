"""A file of a server's answers: what it has is not asked again, and what was asked otherwise is not mixed in."""

import hmac
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cipherlens.data.images import Item
from cipherlens.errors import DataError, UsageError
from cipherlens.files import write_atomic
from cipherlens.keys import Key
from cipherlens.untrusted import describe, open_regular

FORMAT = "cipherlens-answers-1"
_MOST_BYTES = 1 << 30
"""Larger files of answers are refused. A limit on memory."""


class Answers:
    """Answers by photo: its name, and a keyed hash of its bytes. With ``file`` None they are in memory only.

    The first line says what was asked (``about``). Raises UsageError where the file's says otherwise, DataError for
    a file of another kind.
    """

    def __init__(self, file: Path | None, about: Mapping[str, Any], key: Key) -> None:
        self._file, self._about, self._secret = file, dict(about), key.subkey("answers").to_bytes()
        self._hashes: dict[str, str] = {}
        self._known: dict[tuple[str, str], dict[str, float]] = {}
        if file is not None:
            self._open(file)

    def __contains__(self, item: Item) -> bool:
        return self._name(item) in self._known

    def __getitem__(self, item: Item) -> dict[str, float]:
        return self._known[self._name(item)]

    def add(self, items: Sequence[Item], answers: Sequence[dict[str, float]]) -> None:
        """Keep the answers to these photos, and write them down."""
        lines = []
        for item, shares in zip(items, answers, strict=True):
            name, digest = self._name(item)
            self._known[name, digest] = shares
            lines.append(json.dumps({"image": name, "hash": digest, "classes": shares}) + "\n")
        if self._file is not None:
            with self._file.open("a") as opened:
                opened.write("".join(lines))

    def _open(self, file: Path) -> None:
        try:
            if not file.exists():
                write_atomic(file, (json.dumps(self._about) + "\n").encode())
            with open_regular(file, _MOST_BYTES) as opened:
                text = opened.read().decode()
            first, *lines = text.split("\n")[:-1]  # a last line that was cut off is asked for again
            about = json.loads(first)
            for line in lines:
                answer = json.loads(line)
                self._known[str(answer["image"]), str(answer["hash"])] = dict(answer["classes"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            hint = "choose another file"
            raise DataError(f"{file} is no file of answers of ours: {describe(error)}", hint=hint) from None
        if about != self._about:
            asked = ", ".join(f"{name} {value}" for name, value in dict(about).items() if name != "answers")
            raise UsageError(f"{file} has answers to another question: {asked}", hint="choose another file")
        if not text.endswith("\n"):
            write_atomic(file, (text.rpartition("\n")[0] + "\n").encode())

    def _name(self, item: Item) -> tuple[str, str]:
        if item.name not in self._hashes:  # each photo is read once
            content = item.content.read_bytes() if isinstance(item.content, Path) else item.content
            assert isinstance(content, bytes)
            self._hashes[item.name] = hmac.digest(self._secret, content, "sha256").hex()[:32]
        return item.name, self._hashes[item.name]
