"""The web application: routes of the Open Inference Protocol v2 in front of the models' queues."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from cipherlens.inference import LENGTH_HEADER, LOGITS, PROBABILITIES
from cipherlens.service.batching import Batcher, Limits
from cipherlens.service.contract import OUTPUTS, VERSION, to_probabilities
from cipherlens.service.errors import RequestError
from cipherlens.service.figures import Figures
from cipherlens.service.intake import Intake, run_unless_gone
from cipherlens.service.models import ServedModel
from cipherlens.service.protocol import Request as Asked
from cipherlens.service.protocol import parse_request, unpack, write_answer
from cipherlens.service.tokens import Guard

_VERSION = version("cipherlens")
LOG = logging.getLogger("cipherlens.service")
_OFF_LOOP = 1 << 18
"""Bodies of more bytes are parsed in a thread, so that others need not wait. Chosen by hand."""
_PARSED_AT_ONCE = 2
"""Large bodies that are parsed at a time. A limit on memory."""


class Server:
    """The models, their queues, the tokens (None: everybody may ask), and what is counted."""

    def __init__(self, models: Mapping[str, ServedModel], limits: Limits, guard: Guard | None) -> None:
        self.models, self.limits, self.guard, self.figures = dict(models), limits, guard, Figures()
        self.batchers: dict[str, Batcher] = {}
        self._intake = Intake(limits.body)
        self._parsing = asyncio.Semaphore(_PARSED_AT_ONCE)

    @asynccontextmanager
    async def run(self, app: FastAPI) -> AsyncIterator[None]:
        """Start the queues; at the end answer what was accepted."""
        for name, model in self.models.items():
            self.batchers[name] = Batcher(model.compute, self.limits, partial(self._count_batch, name))
        yield
        await asyncio.gather(*(batcher.close(self.limits.seconds) for batcher in self.batchers.values()))

    def _count_batch(self, name: str, images: int, waiting: int) -> None:
        self.figures.batch.labels(name).observe(images)
        self.figures.queue.labels(name).set(waiting)

    def admit(self, request: Request, model: str | None = None) -> None:
        """Raise RequestError (401, 403, 429) where a request has no token by which it may ask."""
        if self.guard is None:
            return
        word, _, secret = request.headers.get("authorization", "").partition(" ")
        token = self.guard.find(secret.strip()) if word.lower() == "bearer" else None
        if token is None:
            raise RequestError(401, "no token", "a valid token is needed: Authorization: Bearer TOKEN")
        if token.models and model not in token.models:
            raise RequestError(403, "another model", "this token is not for this model")
        wait = self.guard.wait(token)
        if wait:
            raise RequestError(429, "rate", "this token is used too often", wait)

    def find(self, name: str, version: str) -> ServedModel:
        """A model by name. Raises RequestError (404) for another."""
        if name not in self.models or version != VERSION:
            raise RequestError(404, "unknown model", "there is no such model")
        return self.models[name]

    async def infer(self, request: Request, name: str, version: str) -> Response:
        """Answer one request for a model. All of it, from the body's first byte on, has its time."""
        self.admit(request, name)
        model = self.find(name, version)
        self.batchers[name].require_room()  # before the body is read, so that a refusal costs little
        try:
            async with asyncio.timeout(self.limits.seconds), self._intake.read(request) as body:
                asked = await self._parse(model, request, body)
                logits = await run_unless_gone(request, self.batchers[name].submit(asked.images))
        except TimeoutError:
            raise RequestError(504, "timeout", f"no answer within {self.limits.seconds:g} s") from None
        self.figures.images.labels(name).inc(len(asked.images))
        found = {LOGITS: logits, PROBABILITIES: to_probabilities(logits)}
        outputs = {wanted: found[wanted] for wanted in asked.outputs or OUTPUTS}
        content, headers = write_answer(name, VERSION, asked, outputs)
        return Response(content, headers=headers)

    async def _parse(self, model: ServedModel, request: Request, body: bytes) -> Asked:
        encoding, length = request.headers.get("content-encoding", ""), request.headers.get(LENGTH_HEADER)
        contract, most = model.contract, self.limits.queue

        def parse() -> Asked:
            content = unpack(body, encoding, self.limits.body)
            asked = parse_request(content, length, partial(contract.check_announced, most=most))
            contract.check_values(asked.images, asked.parameters.allow_plain)
            return asked

        if len(body) <= _OFF_LOOP and not encoding:
            return parse()
        async with self._parsing:
            return await asyncio.to_thread(parse)


def create_app(server: Server) -> FastAPI:
    """The application, for any ASGI server."""
    app = FastAPI(title="cipherlens", version=_VERSION, docs_url=None, redoc_url=None, lifespan=server.run)

    @app.exception_handler(RequestError)
    async def refuse(request: Request, error: RequestError) -> Response:
        server.figures.refused.labels(error.reason).inc()
        more = {} if error.retry_after is None else {"Retry-After": f"{max(1, round(error.retry_after))}"}
        return _answer({"error": error.message}, error.status, more)

    @app.exception_handler(HTTPException)
    async def say(request: Request, error: HTTPException) -> Response:
        return _answer({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(Exception)
    async def hide(request: Request, error: Exception) -> Response:
        return _answer({"error": "internal error"}, 500)  # the log has the rest

    app.add_middleware(Watch, server=server)

    @app.get("/v2")
    async def describe_server() -> Response:
        return _answer({"name": "cipherlens", "version": _VERSION, "extensions": ["binary_tensor_data"]})

    @app.get("/v2/health/live")
    async def is_there() -> Response:
        return _answer({"live": True})

    @app.get("/v2/health/ready")
    async def is_prepared() -> Response:
        ready = all(batcher.works for batcher in server.batchers.values())
        return _answer({"ready": ready}, 200 if ready else 503)

    @app.get("/metrics")
    async def show_figures(request: Request) -> Response:
        server.admit(request)
        return Response(server.figures.show(), media_type="text/plain; version=0.0.4")

    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/{version}")
    async def describe_model(request: Request, name: str, version: str = VERSION) -> Response:
        server.admit(request, name)
        return _answer(server.find(name, version).contract.describe(server.limits.queue))

    @app.get("/v2/models/{name}/ready")
    @app.get("/v2/models/{name}/versions/{version}/ready")
    async def is_ready(request: Request, name: str, version: str = VERSION) -> Response:
        server.admit(request, name)
        server.find(name, version)
        ready = server.batchers[name].works
        return _answer({"name": name, "ready": ready}, 200 if ready else 503)

    @app.post("/v2/models/{name}/infer")
    @app.post("/v2/models/{name}/versions/{version}/infer")
    async def infer(request: Request, name: str, version: str = VERSION) -> Response:
        return await server.infer(request, name, version)

    return app


class Watch:
    """Counts and logs each request when it is answered."""

    def __init__(self, app: Any, server: Server) -> None:
        self._app, self._server = app, server

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Called by the web server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), [0]

        async def note(message: Any) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            self._note(scope, status[0], time.perf_counter() - started)

    def _note(self, scope: Any, status: int, seconds: float) -> None:
        name = scope.get("path_params", {}).get("name", "")
        model = name if name in self._server.models else ""
        self._server.figures.requests.labels(model, status).inc()
        if model:
            self._server.figures.seconds.labels(model).observe(seconds)
        LOG.info(json.dumps({"model": model, "status": status, "seconds": round(seconds, 4)}))


def _answer(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(content), status, headers, media_type="application/json")
