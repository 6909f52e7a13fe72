"""The executor's HTTP API: routes only. Each parses, calls the service, and answers (``contracts.executor_api``)."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from contracts.executor_api import (
    ExecutionAccepted,
    ExecutionList,
    ExecutionState,
    Health,
    IsolationLevel,
    LimitsEnforcement,
    Tombstone,
    Unhealthy,
)
from executor_runtime import VERSION, artifacts, openapi
from executor_runtime.errors import MethodNotAllowed, NotFound, RequestError, ValidationFailed
from executor_runtime.fencing import Fence
from executor_runtime.live_output import parse_query
from executor_runtime.metrics import CONTENT_TYPE, Metrics
from executor_runtime.middleware import Endpoint, RequestContext
from executor_runtime.records import Record
from executor_runtime.request import RequestReader
from executor_runtime.sandbox import SandboxError
from executor_runtime.secret import Token
from executor_runtime.service import Service

_CHUNK_BYTES: Final = 256 * 1024


class _ArtifactPath(PathConvertor):
    """The rest of the URL, whatever it holds: Starlette's own stops at a line feed, which a name may have."""

    regex = r"[\s\S]*"


register_url_convertor("artifact", _ArtifactPath())


@dataclass(frozen=True)
class Api:
    """What the routes need."""

    service: Service
    metrics: Metrics
    token: Token
    isolation: IsolationLevel
    limits_enforcement: LimitsEnforcement = "watchdog"
    debug: bool = False
    fence: Fence = field(default_factory=Fence)


def build_app(api: Api) -> FastAPI:
    """The ASGI application."""
    app = FastAPI(title="sandbox-executor", version=VERSION, docs_url=None, redoc_url=None, redirect_slashes=False)
    execute = _execute_on(api)
    routers = (_execution_routes(api, execute), _observation_routes(api))
    for router in routers:
        app.include_router(router)
    app.state.own_routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    direct = {("POST", "/execute"): execute}
    app.add_middleware(RequestContext, token=api.token, metrics=api.metrics, debug=api.debug, direct=direct)
    app.add_exception_handler(HTTPException, _translate_http_exception)
    app.add_exception_handler(RequestValidationError, _translate_validation_error)
    app.openapi = lru_cache(lambda: openapi.build_document(app, api.token.required))  # type: ignore[method-assign]
    return app


def _execute_on(api: Api) -> Endpoint:
    reader = RequestReader()
    service, fence = api.service, api.fence

    async def execute(request: Request) -> Response:
        wanted = await reader.read(request)
        # Only now, and with no await before the run begins: a newer leader may have spoken while the body came.
        record = service.submit(wanted, fence.admit(request.headers))
        if _prefers_async(request):
            return _answer(_accept(record), 202, {"Preference-Applied": openapi.PREFER_ASYNC})
        return Response(await service.wait(record), media_type="application/json")

    return execute


def _execution_routes(api: Api, execute: Endpoint) -> APIRouter:
    router = APIRouter(tags=["executions"], responses={401: openapi.UNAUTHORIZED, 500: openapi.BROKEN})
    service, fence = api.service, api.fence
    router.post(
        "/execute",
        summary="Run code",
        response_model=None,
        responses={
            200: openapi.RESULT,
            202: openapi.ACCEPTED,
            400: openapi.INVALID,
            409: openapi.CONFLICT,
            412: openapi.FENCED,
            503: openapi.FULL,
        },
    )(execute)

    @router.get(
        "/executions",
        summary="Active and recent executions, oldest first",
        response_model=ExecutionList,
        responses={200: openapi.LIST},
    )
    async def list_executions() -> Response:
        return _answer(ExecutionList(executions=[record.describe() for record in service.recent()]))

    @router.get(
        "/executions/{execution_id}",
        summary="State of an execution, and its result once it has ended",
        response_model=ExecutionState,
        responses={200: openapi.STATE, 404: openapi.NOT_FOUND},
    )
    async def get_execution(execution_id: str) -> Response:
        return _StateResponse(service.find(execution_id).encode())

    @router.get(
        "/executions/{execution_id}/output",
        summary="Its output while it runs, and for a while after that, as server-sent events",
        response_model=None,
        response_class=Response,
        responses={
            200: openapi.OUTPUT,
            400: openapi.BAD_OFFSET,
            404: openapi.NOT_FOUND,
            429: openapi.TOO_MANY_READERS,
        },
        openapi_extra={"parameters": openapi.OUTPUT_PARAMETERS},
    )
    async def get_output(execution_id: str, request: Request) -> Response:
        return service.follow(execution_id, parse_query(request.query_params))

    @router.delete(
        "/executions/{execution_id}",
        summary="Cancel an execution (with X-Execution-Attempt, that attempt only) and wait until it has ended",
        response_model=ExecutionState,
        responses={200: openapi.STATE, 400: openapi.BAD_HEADER, 404: openapi.NOT_FOUND, 412: openapi.FENCED},
    )
    async def cancel_execution(execution_id: str, request: Request) -> Response:
        sender = fence.admit(request.headers)
        return _StateResponse((await service.cancel(execution_id, sender.attempt)).encode())

    @router.put(
        "/executions/{execution_id}/tombstone",
        summary="See to it that an attempt (X-Execution-Attempt, 1) that is unknown here never begins",
        response_model=ExecutionState,
        responses={200: openapi.STATE, 201: openapi.TOMBSTONE, 400: openapi.BAD_ID, 412: openapi.FENCED},
    )
    async def bury_execution(execution_id: str, request: Request) -> Response:
        known = service.bury(execution_id, fence.admit(request.headers).attempt)
        if known is None:
            return _answer(Tombstone(execution_id=execution_id), 201)
        return _StateResponse(known.encode())

    @router.get(
        "/executions/{execution_id}/artifacts/{path:artifact}",
        summary="One artifact's bytes",
        response_model=None,
        response_class=Response,
        responses={200: openapi.ARTIFACT, 404: openapi.NOT_FOUND},
    )
    async def get_artifact(execution_id: str, path: str) -> Response:
        return await _stream_artifact(service, execution_id, path)

    return router


def _observation_routes(api: Api) -> APIRouter:
    router = APIRouter(tags=["observation"], responses={500: openapi.BROKEN})
    started = time.monotonic()

    @router.get("/health", response_model=Health, responses={200: openapi.HEALTH, 503: openapi.UNHEALTHY})
    async def health() -> Response:
        if api.service.terminating:
            return _answer(Unhealthy(reason="terminating"), 503)
        return _answer(
            Health(
                version=VERSION,
                uptime_seconds=round(time.monotonic() - started, 3),
                active_executions=api.service.active,
                unsent_reports=api.service.unsent_reports,
                isolation=api.isolation,
                limits_enforcement=api.limits_enforcement,
                run_id=api.fence.run_id,
            )
        )

    @router.get("/metrics", response_model=None, response_class=Response, responses={200: openapi.METRICS})
    async def metrics() -> Response:
        return Response(api.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    return router


def _answer(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


def _prefers_async(request: Request) -> bool:
    """RFC 7240: a list of preferences, in one header or several."""
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return any(preference.partition(";")[0].strip() == openapi.PREFER_ASYNC for preference in preferences)


def _accept(record: Record) -> ExecutionAccepted:
    if record.state != "ended":
        message = f"Accepted; it is {record.state}."
        return ExecutionAccepted(execution_id=record.execution_id, status=record.state, message=message)
    if record.status is None:
        message = "The executor was terminated before it ended."
        return ExecutionAccepted(execution_id=record.execution_id, status="error", message=message)
    return ExecutionAccepted(execution_id=record.execution_id, status=record.status, message=record.message)


async def _stream_artifact(service: Service, execution_id: str, path: str) -> Response:
    known = service.find(execution_id)
    missing = NotFound(
        "No such artifact.",
        solution="Artifacts are listed in the result, and kept for WORKSPACE_RETENTION_SECONDS after the end.",
    )
    if not isinstance(known, Record) or known.workspace is None or known.state != "ended":
        raise missing
    try:
        return _ArtifactResponse(await asyncio.to_thread(artifacts.open_artifact, known.workspace, path))
    except SandboxError:
        raise missing from None


class _StateResponse(Response):
    """JSON in pieces, one after the other: a copy of all of them together would be as large as the largest result."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        headers = {"Content-Length": str(sum(map(len, pieces)))}
        super().__init__(media_type="application/json", headers=headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for number, piece in enumerate(self._pieces, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(self._pieces)})


class _ArtifactResponse(Response):
    """Exactly as many bytes as the file had when it was opened; closes the descriptor in any case."""

    def __init__(self, opened: artifacts.OpenArtifact) -> None:
        # Never a type that a browser would run: the bytes come from untrusted code.
        super().__init__(
            media_type="application/octet-stream",
            headers={
                "Content-Length": str(opened.size),
                "X-Content-Type-Options": "nosniff",
                "Content-Disposition": "attachment",
            },
        )
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self._opened.size
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while left > 0:
                chunk = await asyncio.to_thread(os.read, self._opened.descriptor, min(_CHUNK_BYTES, left))
                if not chunk:
                    raise ConnectionAbortedError("the artifact became shorter while it was read")
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
            if self._opened.size == 0:
                await send({"type": "http.response.body", "body": b""})
        finally:
            os.close(self._opened.descriptor)


async def _translate_http_exception(request: Request, error: Exception) -> Response:
    """The framework's own refusals; ``RequestContext`` gives them their form."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        raise MethodNotAllowed(_methods_at(request))
    if isinstance(error, HTTPException) and error.status_code == 404:
        raise NotFound("There is nothing at this path.", solution="GET /openapi.json lists the paths.")
    raise RequestError("The request cannot be answered.") from error


def _methods_at(request: Request) -> str:
    """All methods of a path: each route knows only its own."""
    here = (route for route in request.app.state.own_routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in here for method in route.methods})) or "GET"


async def _translate_validation_error(_request: Request, error: Exception) -> Response:
    raise ValidationFailed("The request is not valid.", solution="See /openapi.json.") from error
