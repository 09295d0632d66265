"""Questions and what becomes of them; no I/O: both clients share it."""

import json
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from cipherlens.client.sealing import Prediction, Sealer, choose_sealer, read_scheme
from cipherlens.client.wire import LENGTH_HEADER, read_answer, write_request
from cipherlens.data.images import Item
from cipherlens.errors import CipherlensError, DataError, KeyFailureError, UsageError
from cipherlens.keys import Key

_ANSWER_BYTES = 256 << 20
"""Larger answers are refused. A limit on memory."""
_ATTEMPTS = 8
"""How often a request is sent, where it gets no answer. Chosen by hand."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 20.0
"""Seconds before the second attempt; each pause is twice the last. Chosen by hand."""
_LONGEST_WISH = 60.0
"""Seconds that a server may ask for. Chosen by hand."""
_AGAIN = {429: _ATTEMPTS, 502: _ATTEMPTS, 503: _ATTEMPTS, 500: 2, 504: 2}
"""How often the same request is sent after a status: asking changes nothing on the server."""
_CHANGED = 409


class ModelChanged(KeyFailureError):
    """The server has another model, key or scheme now than its metadata said."""


@dataclass(frozen=True)
class Question:
    """One request, and the images that it is about."""

    id: str
    body: bytes
    headers: dict[str, str]
    names: list[str]


class Answer:
    """An answer as it comes in."""

    def __init__(self, response: httpx.Response) -> None:
        self.status, self.headers = response.status_code, response.headers
        self._parts, self._size = list[bytes](), 0

    def add(self, part: bytes) -> None:
        """Take some of its bytes. Raises DataError where there are too many."""
        self._size += len(part)
        if self._size > _ANSWER_BYTES:
            raise DataError(f"the answer has more than {_ANSWER_BYTES:,} bytes", hint="is it the right server?")
        self._parts.append(part)

    @property
    def content(self) -> bytes:
        """All bytes that came."""
        return b"".join(self._parts)


class Questions:
    """What a client knows of a model: ``sealer`` is None until its metadata were read and accepted."""

    def __init__(self, model: str, key: Key, scheme: Any, batch: int) -> None:
        if batch < 1:
            raise UsageError("batch is at least 1")
        if not model or set("/?#%") & set(model):
            raise UsageError(f"{model!r} is no name of a model")
        self.place = f"/v2/models/{model}"
        self.sealer: Sealer | None = None
        self._key, self._batch, self._pinned = key, batch, read_scheme(scheme, key)

    def learn(self, metadata: bytes) -> None:
        """Accept a model's metadata. Raises KeyFailureError or DataError where they are not to be followed."""
        try:
            facts = json.loads(metadata)
        except (ValueError, RecursionError):
            raise DataError("the server's answer is not JSON", hint="is it a server of cipherlens?") from None
        self.sealer = choose_sealer(facts, self._key, self._pinned)

    def write(self, items: Sequence[Item]) -> Question:
        """A question about the first of these images, as many as one request takes."""
        assert self.sealer is not None
        some = items[: self.sealer.fit(self._batch)]
        name, scheme = secrets.token_hex(16), self.sealer.scheme
        said = {
            "key_fingerprint": scheme.key_fingerprint,
            "cipher": scheme.cipher,
            "model_id": self.sealer.model_id,
        }
        body, headers = write_request(self.sealer.seal(some), name, said)
        return Question(name, body, headers, [item.name for item in some])

    def read(self, answer: Answer, question: Question) -> list[Prediction]:
        """The predictions of an answer. Raises DataError for one that does not fit the question."""
        assert self.sealer is not None
        length = answer.headers.get(LENGTH_HEADER)
        found = read_answer(answer.content, length, question.id, len(question.names))
        return self.sealer.rank(question.names, found)


def choose_pause(attempt: int, outcome: Answer | httpx.RequestError) -> float:
    """Seconds until the next attempt. Raises an error where another would not help, or enough were made."""
    wish = 0.0
    if isinstance(outcome, httpx.RequestError):
        if attempt + 1 >= _ATTEMPTS or not isinstance(outcome, httpx.NetworkError | httpx.TimeoutException | _CUT):
            # The text of other errors may hold a header, and so the token.
            said = str(outcome) if isinstance(outcome, httpx.NetworkError) else type(outcome).__name__
            hint = "check address, certificate and network"
            raise CipherlensError(f"the server cannot be reached: {said}", hint=hint) from None
        if "CERTIFICATE" in str(outcome).upper():
            raise CipherlensError(
                f"the server cannot be reached: {outcome}", hint="check the certificates"
            ) from None
    else:
        if attempt + 1 >= _AGAIN.get(outcome.status, 0):
            raise _explain(outcome)
        asked = outcome.headers.get("retry-after", "0")
        wish = float(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 9 else 0.0
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    return max(min(wish, _LONGEST_WISH), random.uniform(pause / 2, pause))


_CUT = httpx.RemoteProtocolError
"""The server has closed the connection."""


def _explain(answer: Answer) -> CipherlensError:
    try:
        said = str(json.loads(answer.content)["error"])[:500]
    except (ValueError, KeyError, TypeError, RecursionError):
        said = "no reason given"
    message = f"the server refused ({answer.status}): {said}"
    if answer.status == _CHANGED:
        return ModelChanged(message, hint="check key and model")
    if answer.status in (401, 403):
        return KeyFailureError(message, hint="check the token")
    return DataError(message) if answer.status < 500 else CipherlensError(message, hint="try again later")
