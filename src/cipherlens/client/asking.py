"""What a client says and makes of the answers, step by step; no I/O: both clients do the same steps."""

import json
import random
import secrets
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from cipherlens.client.sealing import Prediction, Sealer, choose_sealer, list_items, read_scheme
from cipherlens.client.wire import read_answer, write_request
from cipherlens.data.images import Item
from cipherlens.errors import CipherlensError, DataError, KeyFailureError, UsageError
from cipherlens.inference import LENGTH_HEADER
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
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
"""Errors of the line after which another attempt may work."""
_CHANGED = 409
_ATTEMPTS_AFTER_CHANGE = 3
"""How often images are sealed anew, where the server's model changes meanwhile. Chosen by hand."""


class ModelChanged(KeyFailureError):
    """The server has another model, key or scheme now than its metadata said."""


@dataclass(frozen=True)
class Send:
    """A step of a conversation: send this, and give back the ``Answer``, or the error of the line."""

    method: str
    place: str
    body: bytes | None = None
    headers: dict[str, str] | None = None


@dataclass(frozen=True)
class Pause:
    """A step of a conversation: wait for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """A step of a conversation: call this, and give back its result; it takes a while."""

    function: Callable[[], Any]


Step = Send | Pause | Work


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


class Conversation:
    """What a client says to a server and makes of its answers. A driver does the steps, waiting or not."""

    def __init__(self, model: str, key: Key, scheme: Any, batch: int) -> None:
        if batch < 1:
            raise UsageError("batch is at least 1")
        if not model or set("/?#%") & set(model):
            raise UsageError(f"{model!r} is no name of a model")
        self._place = f"/v2/models/{model}"
        self._sealer: Sealer | None = None  # None until the model's metadata were read and accepted
        self._key, self._batch, self._pinned = key, batch, read_scheme(scheme, key)

    def classify(self, images: Sequence[Any]) -> Generator[Step, Any, list[Prediction]]:
        """The steps to the classes of these images, request by request."""
        items, found = list_items(images), list[Prediction]()
        while len(found) < len(items):
            found += yield from self._classify_some(items[len(found) :])
        return found

    def _classify_some(self, items: Sequence[Item]) -> Generator[Step, Any, list[Prediction]]:
        for _ in range(_ATTEMPTS_AFTER_CHANGE):
            sealer = self._sealer or (yield from self._learn())
            some = items[: sealer.fit(self._batch)]
            sealed = yield Work(partial(sealer.seal, some))
            name, scheme = secrets.token_hex(16), sealer.scheme
            said = {"key_fingerprint": scheme.key_fingerprint, "cipher": scheme.cipher, "model_id": sealer.model_id}
            body, headers = write_request(sealed, name, said)
            try:
                answer = yield from _insist(Send("POST", f"{self._place}/infer", body, headers))
            except ModelChanged:
                self._sealer = None
                continue
            probabilities = read_answer(answer.content, answer.headers.get(LENGTH_HEADER), name, len(some))
            return sealer.rank([item.name for item in some], probabilities)
        raise CipherlensError("the server's model changes all the time", hint="try again later")

    def _learn(self) -> Generator[Step, Any, Sealer]:
        """Read and accept a model's metadata. Raises KeyFailureError or DataError where they are not followed."""
        answer = yield from _insist(Send("GET", self._place))
        try:
            facts = json.loads(answer.content)
        except (ValueError, RecursionError):
            raise DataError("the server's answer is not JSON", hint="is it a server of cipherlens?") from None
        self._sealer = choose_sealer(facts, self._key, self._pinned)
        return self._sealer


def _insist(send: Send) -> Generator[Step, Any, Answer]:
    """Send until there is a good answer. Raises an error where another attempt would not help."""
    attempt = 0
    while True:
        outcome: Answer | httpx.RequestError = yield send
        if isinstance(outcome, Answer) and outcome.status == httpx.codes.OK:
            return outcome
        yield Pause(_choose_pause(attempt, outcome))
        attempt += 1


def _choose_pause(attempt: int, outcome: Answer | httpx.RequestError) -> float:
    """Seconds until the next attempt. Raises an error where another would not help, or enough were made."""
    wish = 0.0
    if isinstance(outcome, httpx.RequestError):
        if attempt + 1 >= _ATTEMPTS or not isinstance(outcome, _LOST):
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
