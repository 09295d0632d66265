"""The routes that change something. Each returns the part of the page that it changes."""

import asyncio
from pathlib import Path
from urllib.parse import unquote

from fastapi import APIRouter, Request, Response

from cipherlens.desk.folder import FolderJob
from cipherlens.desk.setting import Setting
from cipherlens.desk.web.forms import read_body, read_form, to_number, to_path, to_setting
from cipherlens.desk.web.page import Page, make_key, read_report
from cipherlens.errors import UsageError
from cipherlens.keys import Key

MOST_BYTES = 256 << 20
"""Bytes of a photo. A limit on memory."""
_LONGEST_NAME = 200
PARTS = {
    "/setting": "controls",
    "/key": "controls",
    "/trials": "trial_form",
    "/folder": "folder",
    "/reports": "reports",
}
"""The part that each form belongs to."""


def list_routes(page: Page) -> APIRouter:
    """What the forms of the page, and dropped photos, do."""
    desk, routes = page.desk, APIRouter()

    @routes.post("/photos")
    async def take_photo(request: Request) -> Response:
        content = await read_body(request, MOST_BYTES)
        await desk.add(unquote(request.headers.get("x-name", "photo"))[:_LONGEST_NAME], content)
        return Response("sealed and sent", 201, media_type="text/plain")

    @routes.post("/setting")
    async def choose_setting(request: Request) -> Response:
        form = await read_form(request)
        await desk.choose(_fit_provider(page) if form.get("act") == "provider" else to_setting(form))
        return page.show("controls")

    @routes.post("/key")
    async def choose_key(request: Request) -> Response:
        form = await read_form(request)
        path = to_path(form, "path")
        if form.get("act") == "make":
            key = await asyncio.to_thread(make_key, path)
        elif path is not None:
            key = await asyncio.to_thread(Key.load, path, form.get("passphrase") or None)
        else:
            raise UsageError("no file is named", hint="name the key file")
        page.key_name = str(path or "")
        await desk.choose(desk.setting, key)
        return page.show("controls")

    @routes.post("/clear")
    async def clear() -> Response:
        await desk.clear()
        return page.show("board")

    @routes.post("/trials")
    async def try_setting(request: Request) -> Response:
        form = await read_form(request)
        desk.attempt(to_setting(form), to_number(form, "count"))
        return page.show("trial_form")

    @routes.post("/folder")
    async def seal_folder(request: Request) -> Response:
        form = await read_form(request)
        page.job = _start_job(page, to_path(form, "source"), to_path(form, "out"))
        return page.show("folder")

    @routes.post("/reports")
    async def open_report(request: Request) -> Response:
        path = to_path(await read_form(request), "path")
        if path is None:
            raise UsageError("no report is named", hint="name the folder that audit wrote")
        path = path / "report.html" if path.is_dir() else path
        await asyncio.to_thread(read_report, path)
        if path not in page.reports:
            page.reports.append(path)
        return page.show("reports")

    return routes


def _fit_provider(page: Page) -> Setting:
    """The setting that the provider's model needs."""
    scheme = None if page.desk.provider is None else page.desk.provider.scheme
    if scheme is None:
        raise UsageError("there is no provider", hint="start one: cipherlens serve RUN")
    return Setting.of_scheme(scheme)


def _start_job(page: Page, source: Path | None, out: Path | None) -> FolderJob:
    if source is None or out is None:
        raise UsageError("two folders are needed", hint="name the photos, and the sealed set")
    if page.job is not None and page.job.runs:
        raise UsageError("a folder is being sealed", hint="wait for its end")
    if not page.key_name:
        hint = "make one in a file, or use a file"
        raise UsageError("this key is in no file, and without it nobody opens what it seals", hint=hint)
    job = FolderJob(source, out)
    job.start(page.desk.setting, page.desk.key)
    return job
