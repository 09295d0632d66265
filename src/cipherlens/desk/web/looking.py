"""The routes that show something."""

import asyncio

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from cipherlens.desk import pictures
from cipherlens.desk.web import views
from cipherlens.desk.web.gate import REPORT_HEADERS
from cipherlens.desk.web.page import Page, read_report

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_MISSING, _UNCHANGED = 404, 204


def list_routes(page: Page) -> APIRouter:
    """The page, its parts, its pictures."""
    desk, routes = page.desk, APIRouter()

    @routes.get("/")
    async def whole() -> Response:
        return page.show("page")

    @routes.get("/static/{name}")
    async def static(name: str) -> Response:
        content = views.read_static(name)
        if content is None:
            return Response(status_code=_MISSING)
        return Response(content, media_type=_TYPES.get(name.rpartition(".")[2], "text/plain"))

    @routes.get("/{part}")
    async def show_part(part: str, seen: int = -1) -> Response:
        if part not in ("board", "trials", "progress"):
            return Response(status_code=_MISSING)
        if part != "progress" and seen == desk.version:
            return Response(status_code=_UNCHANGED)
        return page.show(part)

    @routes.get("/picture/{what}/{number}/{version}")
    async def picture(what: str, number: int, version: int) -> Response:
        photo = next((photo for photo in desk.photos if photo.number == number), None)
        return _show_picture(None if photo is None else await asyncio.to_thread(photo.draw, what))

    @routes.get("/trial/{number}/{what}/{place}")
    async def trial_picture(number: int, what: str, place: int) -> Response:
        trial = next((trial for trial in desk.trials if trial.number == number), None)
        if trial is None or what not in ("sealed", "read") or not 0 <= place < len(trial.pictures):
            return Response(status_code=_MISSING)
        return _show_picture(await asyncio.to_thread(pictures.to_png, trial.pictures[place][what == "read"]))

    @routes.get("/reports/{number}")
    async def report(number: int) -> Response:
        if not 0 <= number < len(page.reports):
            return Response(status_code=_MISSING)
        content = await asyncio.to_thread(read_report, page.reports[number])
        return HTMLResponse(content, headers=REPORT_HEADERS)

    return routes


def _show_picture(content: bytes | None) -> Response:
    return Response(status_code=_MISSING) if content is None else Response(content, media_type="image/png")
