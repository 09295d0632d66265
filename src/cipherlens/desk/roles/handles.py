"""The two other roles, each in a process of its own: the provider, who answers, and the eavesdropper, who reads.

Both get ciphertexts and the public scheme. The key and the photos stay in the page's process.
"""

import asyncio
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from cipherlens.client.line import describe_line
from cipherlens.client.wire import read_answer, write_request
from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.desk.roles import children
from cipherlens.desk.roles.messages import read_array, read_head, write_message
from cipherlens.desk.setting import Setting
from cipherlens.errors import CipherlensError, DataError
from cipherlens.inference import LENGTH_HEADER, LOOPBACK
from cipherlens.service.tokens import create_token

_START_SECONDS = 120
"""How long a provider may take to load its model. Chosen by hand."""
_ANSWER_SECONDS = 60
_PAUSE = 0.3
_BUSY = (429, 503, 504)
"""Statuses after which it is worth asking again."""


class Eavesdropper:
    """Its process, started when it is first needed."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def read(self, setting: Setting, ciphertexts: NDArray[Any]) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """What it reads of ciphertexts: see ``eavesdropper.read``. Raises CipherlensError if its process ends."""
        if self._process is None or self._process.returncode is not None:
            self._process = await children.start("cipherlens.desk.roles.eavesdropper", talks=True)
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        facts = {"cipher": setting.scheme, "params": setting.params, "shape": setting.shape}
        try:
            process.stdin.write(write_message(facts, ciphertexts))
            await process.stdin.drain()
            told, size = read_head(await process.stdout.readline())
            content = await process.stdout.readexactly(size)
        except (OSError, ValueError, asyncio.IncompleteReadError):
            await self.stop()
            raise CipherlensError("the eavesdropper's process has ended", hint="send another photo") from None
        return told, read_array(told, content)

    async def stop(self) -> None:
        """End it, also while it works; the next reading starts a new one."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class Provider:
    """A model on a server. ``line``: how it is reached (``client.line``), ``model``: its name there."""

    def __init__(self, line: dict[str, Any], model: str = "run") -> None:
        self._line, self._place = line, f"/v2/models/{quote(model, safe='')}"
        self._model_id = ""
        self.scheme: CipherSpec | None = None
        """How its model's images were sealed; None before it is known."""
        self.classes = list[str]()

    @property
    def elsewhere(self) -> str:
        """The host to which ciphertexts go; empty for this machine."""
        host = urlsplit(self._line["base_url"]).hostname or ""
        return "" if host in LOOPBACK else host

    async def meet(self) -> None:
        """Learn what the model takes. Raises CipherlensError where nobody answers, or nothing usable."""
        try:
            answer = await self._call("GET", self._place)
            facts = answer.json()["parameters"]
            self.classes, self._model_id = [str(name) for name in facts["classes"]], str(facts["model_id"])
            self.scheme = CipherSpec.from_json(dict(facts["scheme"]))
        except (KeyError, TypeError, ValueError, DataError) as error:
            hint = "give a run that was trained on sealed images"
            raise DataError(f"the provider does not say what it takes: {error}", hint=hint) from None

    async def ask(self, ciphertexts: NDArray[Any], fingerprint: str) -> NDArray[np.float32]:
        """Probabilities (N, classes) of sealed images.

        Raises DataError with the server's words where it refuses them, CipherlensError where it does not answer.
        """
        assert self.scheme is not None
        number = secrets.token_hex(8)
        said = {"key_fingerprint": fingerprint, "cipher": self.scheme.cipher, "model_id": self._model_id}
        body, headers = write_request(ciphertexts, number, said)
        answer = await self._call("POST", f"{self._place}/infer", content=body, headers=headers)
        found = read_answer(answer.content, answer.headers.get(LENGTH_HEADER), number, len(ciphertexts))
        if found.shape[1:] != (len(self.classes),):
            raise DataError("the provider answers with something else than one number for each class")
        return found

    async def stop(self) -> None:
        """Nothing: who started it ends it."""

    async def _call(self, method: str, place: str, **options: Any) -> httpx.Response:
        try:
            async with httpx.AsyncClient(**self._line, timeout=_ANSWER_SECONDS) as line:
                answer = await line.request(method, place, **options)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise CipherlensError(f"the provider does not answer: {reason}", hint="does it still run?") from None
        if answer.status_code in _BUSY:
            raise CipherlensError(f"the provider is busy ({answer.status_code})", hint="it is asked again")
        if answer.status_code != httpx.codes.OK:
            with suppress(ValueError, AttributeError):
                raise DataError(f"the provider refuses: {answer.json().get('error', '')}"[:300])
            raise DataError(f"the provider refuses with status {answer.status_code}")
        return answer


class OwnProvider(Provider):
    """A server of a run that is started here, with a token of its own. ``folder`` is for its tokens."""

    def __init__(self, run: Path, folder: Path) -> None:
        tokens = folder / "tokens.json"
        with socket.socket() as place:
            place.bind((LOOPBACK[0], 0))
            port = int(place.getsockname()[1])
        super().__init__(describe_line(f"http://{LOOPBACK[0]}:{port}", create_token(tokens, "desk"), None, None))
        self._words = (str(run.resolve()), str(port), str(tokens))
        self._process: asyncio.subprocess.Process | None = None

    async def meet(self) -> None:
        """Start it, and learn what its model takes when it is there."""
        if self._process is None:
            self._process = await children.start("cipherlens.desk.roles.provider", *self._words)
        end = asyncio.get_running_loop().time() + _START_SECONDS
        while True:
            try:
                return await super().meet()
            except DataError:
                raise
            except CipherlensError:
                if self._process.returncode is not None or asyncio.get_running_loop().time() > end:
                    raise
            await asyncio.sleep(_PAUSE)

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
