"""Requests over plain sockets, so many in flight; light, since it shares the machine with the server."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

import cipherlens as cl

HOST, PORT = "127.0.0.1", 18_437
Headers = Mapping[str, str]
Take = Callable[[int, int, float, Headers, bytes], None]
"""Function of a request's number, and its answer's status, seconds, headers and body."""


def make_run(folder: Path, model: str, side: int) -> Path:
    """A run on sealed images; how well it was trained is of no matter here."""
    run = folder / f"{model}-{side}"
    if not run.exists():
        key, sealed = cl.Key(bytes(range(32))), folder / f"sealed-{side}"
        if not sealed.exists():
            cl.seal(f"synthetic:objects?n=16&test=4&size={side}", sealed, cl.create_cipher("hill", block=4), key)
        cl.train(sealed, cl.TrainConfig(model=model, epochs=1, batch_size=8), out=run)
    return run


@contextmanager
def serving(run: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server of a run in a process of its own, as users start it."""
    words = ("serve", f"run={run}", "--port", str(PORT), "--timeout", "300", *options)
    server = subprocess.Popen([sys.executable, "-m", "cipherlens", *words], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                httpx.get(f"http://{HOST}:{PORT}/v2/health/ready", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield server
    finally:
        server.terminate()
        server.wait(60)


def write_post(body: bytes, headers: Headers) -> bytes:
    """All bytes of a request."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(
        [
            "POST /v2/models/run/infer HTTP/1.1",
            f"Host: {HOST}:{PORT}",
            f"Content-Length: {len(body)}",
            *lines,
            "\r\n",
        ]
    )
    return head.encode() + body


async def send_all(requests: Sequence[bytes], count: int, in_flight: int, take: Take, pause: float = 0) -> float:
    """Send ``count`` requests, in turn, over so many connections; the seconds of all.

    ``pause``: seconds that a connection waits after a refusal.
    """
    numbers = iter(range(count))

    async def work() -> None:
        reader, writer = await asyncio.open_connection(HOST, PORT)
        for number in numbers:
            started = time.perf_counter()
            writer.write(requests[number % len(requests)])
            status, headers, body = await read_answer(reader)
            take(number, status, time.perf_counter() - started, headers, body)
            if status != 200:
                await asyncio.sleep(pause)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return time.perf_counter() - started


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body of one answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
