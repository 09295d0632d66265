"""The two other roles, each in a process of its own: the provider, who answers, and the eavesdropper, who reads.

Both get ciphertexts and the public scheme. The key and the photos stay in the page's process.
"""

import asyncio
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from cipherlens.client.wire import read_answer, write_request
from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.desk import children
from cipherlens.desk.messages import read_array, read_head, write_message
from cipherlens.desk.setting import Setting
from cipherlens.errors import CipherlensError, DataError
from cipherlens.inference import LENGTH_HEADER, LOOPBACK
from cipherlens.service.tokens import create_token

_START_SECONDS = 120
"""How long a provider may take to load its model. Chosen by hand."""


class Eavesdropper:
    """Its process, started when it is first needed."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def read(self, setting: Setting, ciphertexts: NDArray[Any]) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """What it reads of all ciphertexts: see ``eavesdropper.read``. Raises CipherlensError if it dies."""
        if self._process is None or self._process.returncode is not None:
            self._process = await children.start("cipherlens.desk.eavesdropper", talks=True)
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
            raise CipherlensError("the eavesdropper's process has ended", hint="see the terminal") from None
        return told, read_array(told, content)

    async def stop(self) -> None:
        """End it, also while it works; the next reading starts a new one."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class Provider:
    """A server of a run: one that is there (``url``), or one of ``run`` that is started here.

    ``folder`` is for the tokens of the latter.
    """

    def __init__(self, url: str = "", token: str = "", run: Path | None = None, folder: Path | None = None) -> None:
        self.url, self._token, self._run, self._folder = url.rstrip("/"), token, run, folder
        self._process: asyncio.subprocess.Process | None = None
        self._facts: dict[str, Any] = {}

    @property
    def scheme(self) -> CipherSpec | None:
        """How its model's images were sealed; None before it is known."""
        return CipherSpec.from_json(self._facts["scheme"]) if self._facts else None

    @property
    def classes(self) -> list[str]:
        """Names of its classes."""
        return list(self._facts.get("classes", ()))

    async def meet(self) -> None:
        """Learn what the model takes, when the server is there. Raises CipherlensError where it is not."""
        if self._run is not None and self._folder is not None and self._process is None:
            await self._start(self._run, self._folder)
        end = asyncio.get_running_loop().time() + _START_SECONDS
        while True:
            try:
                async with self._line() as line:
                    answer = await line.get("/v2/models/run")
                answer.raise_for_status()
                self._facts = answer.json()["parameters"]
                return
            except (httpx.HTTPError, KeyError, ValueError) as error:
                ended = self._process is None or self._process.returncode is not None
                if ended or asyncio.get_running_loop().time() > end:
                    raise CipherlensError(
                        f"the provider does not answer: {error}", hint="try cipherlens serve RUN"
                    ) from None
            await asyncio.sleep(0.3)

    async def ask(self, ciphertexts: NDArray[Any], fingerprint: str) -> NDArray[np.float32]:
        """Probabilities (N, classes) of sealed images. Raises CipherlensError with the server's words."""
        number = secrets.token_hex(8)
        scheme = self.scheme
        assert scheme is not None
        said = {"key_fingerprint": fingerprint, "cipher": scheme.cipher, "model_id": self._facts["model_id"]}
        body, headers = write_request(ciphertexts, number, said)
        try:
            async with self._line() as line:
                answer = await line.post("/v2/models/run/infer", content=body, headers=headers)
            if answer.status_code != httpx.codes.OK:
                raise DataError(f"the provider refuses: {answer.json().get('error', '')}"[:300])
        except (httpx.HTTPError, ValueError) as error:
            raise CipherlensError(f"the provider does not answer: {error}") from None
        return read_answer(answer.content, answer.headers.get(LENGTH_HEADER), number, len(ciphertexts))

    async def stop(self) -> None:
        """End a server that was started here."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def _start(self, run: Path, folder: Path) -> None:
        tokens, port = folder / "tokens.json", _find_port()
        self._token = create_token(tokens, "desk")
        self.url = f"http://{LOOPBACK[0]}:{port}"
        self._process = await children.start("cipherlens.desk.provider", str(run), str(port), str(tokens))

    def _line(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, trust_env=False)


def _find_port() -> int:
    with socket.socket() as place:
        place.bind((LOOPBACK[0], 0))
        return int(place.getsockname()[1])
