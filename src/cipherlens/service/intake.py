"""Read a body within its limit, and drop the work of a client who has gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from cipherlens.service.errors import RequestError, malformed

T = TypeVar("T")


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request. Raises RequestError (413) as soon as it is known to be larger than ``limit`` bytes."""
    announced = request.headers.get("content-length", "0")
    too_large = RequestError(413, "too large", f"a body has at most {limit:,} bytes")
    if announced.isascii() and announced.isdecimal() and int(announced[:20]) > limit:
        raise too_large
    parts, size = list[bytes](), 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise too_large
            parts.append(part)
    except ClientDisconnect:
        raise malformed("the body is cut off") from None
    return b"".join(parts)


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
