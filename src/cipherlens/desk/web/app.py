"""The application of the desk; :class:`~cipherlens.desk.web.gate.Gate` belongs in front of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request, Response

from cipherlens.desk.desk import DeskFullError
from cipherlens.desk.state import describe
from cipherlens.desk.web import changing, looking
from cipherlens.desk.web.page import Page
from cipherlens.desk.work import Work
from cipherlens.errors import CipherlensError

_REFUSED, _FULL = 422, 409


def create_app(page: Page) -> FastAPI:
    """The routes, and the desk's work behind them."""

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        work = asyncio.create_task(Work(page.desk).run())
        yield
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        await page.desk.stop()

    app = FastAPI(title="cipherlens desk", docs_url=None, redoc_url=None, openapi_url=None, lifespan=run)

    @app.exception_handler(CipherlensError)
    @app.exception_handler(OSError)  # of a path that somebody wrote
    @app.exception_handler(ValueError)
    async def refuse(request: Request, error: Exception) -> Response:
        part = changing.PARTS.get(request.url.path)
        if part is None:
            status = _FULL if isinstance(error, DeskFullError) else _REFUSED
            return Response(describe(error), status, media_type="text/plain")
        answer = page.show(part, error)
        answer.status_code = _REFUSED
        return answer

    for routes in (changing.list_routes(page), looking.list_routes(page)):
        app.include_router(routes)
    return app
