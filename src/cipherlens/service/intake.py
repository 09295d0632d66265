"""Read bodies within their limits, and drop the work of a client who has gone."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from cipherlens.service.errors import RequestError, malformed, overloaded

T = TypeVar("T")
BODIES = 8
"""Bodies of the largest size for which there is room at a time. A limit on memory."""


class Intake:
    """Bodies of at most ``limit`` bytes; all that are read or computed at a time have ``BODIES`` times as many."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit * BODIES

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request; its bytes count until the context ends.

        Raises RequestError as soon as the body is known to be larger than its limit (413), or than the room that
        other requests leave (429).
        """
        announced = request.headers.get("content-length", "0")
        if announced.isascii() and announced.isdecimal():
            self._check(int(announced[:20]), 0)
        parts = list[bytes]()
        try:
            await self._fill(parts, request)
            yield b"".join(parts)
        finally:
            self._free += sum(map(len, parts))

    async def _fill(self, parts: list[bytes], request: Request) -> None:
        size = 0
        try:
            async for part in request.stream():
                self._check(len(part), size)
                size += len(part)
                self._free -= len(part)
                parts.append(part)
        except ClientDisconnect:
            raise malformed("the body is cut off") from None

    def _check(self, more: int, size: int) -> None:
        if size + more > self._limit:
            raise RequestError(413, "too large", f"a body has at most {self._limit:,} bytes")
        if more > self._free:
            raise overloaded("too many bytes wait")


async def run_unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``; it is cancelled where the client goes away, or this is cancelled."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_wait_for_end(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RequestError(499, "gone", "the client has gone")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _wait_for_end(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
