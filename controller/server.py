"""The Control Plane internal API, as executors see it: reports come in, facts go to the pipeline.

A report on an execution needs that execution's own report token, so that a captured
executor can say nothing about others; the two lifecycle calls need the shared token. What a
lifecycle call says never ends an Execution: only the API server's view of the pod does.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts import bounds
from contracts.control_plane_api import (
    CONTAINER_EXITED_PATH,
    CONTAINER_READY_PATH,
    ContainerExited,
    ContainerReady,
    Heartbeat,
    ResultReport,
    heartbeat_path,
    result_path,
    uploads_path,
)
from contracts.ids import EXECUTION_ID_LENGTH
from contracts.outputs import UploadRequest
from controller.errors import KubeError, StoreError, UploadRefused
from controller.facts import Tails
from controller.logs import get_logger
from controller.pipeline import Pipeline
from controller.reports import Reports
from controller.uploads import LOCAL_PATH, LocalObjects

MAX_REPORT_BYTES: Final = 160 * 1_048_576
"""Two streams and a return value at their bounds, as the worst JSON can write them (six bytes a byte)."""
_LARGE_BYTES: Final = 1_048_576
_LARGE_AT_A_TIME: Final = 2
_SMALL_BYTES: Final = 65_536
_TOKEN_LENGTH: Final = 512
_LENGTH: Final = re.compile("[0-9]{1,18}")
_HOLD_S: Final = 30
_NOT_STORED: Final = {"Cache-Control": "no-store"}
_Model = TypeVar("_Model", bound=BaseModel)
logger = get_logger(__name__)


class _Refused(Exception):
    """Ends a request with an answer; never leaves this module."""

    def __init__(self, status: int, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.description = description


class InternalApi:
    """The routes, thin: who asks, what they say, what the pipeline answers."""

    def __init__(
        self,
        reports: Reports,
        pipeline: Pipeline,
        matches_token: Callable[[str], bool],
        ready: Callable[[], bool],
        objects: LocalObjects | None = None,
    ) -> None:
        """``objects``: where the store is a folder, which this process writes."""
        self._reports = reports
        self._pipeline = pipeline
        self._matches_token = matches_token
        self._ready = ready
        self._objects = objects
        self._large = asyncio.Semaphore(_LARGE_AT_A_TIME)

    def build(self) -> Starlette:
        """The application; every Execution's end goes through it, so there is no more of a framework than routes."""
        routes = [
            Route(result_path("{execution_id}"), self.result, methods=["POST"]),
            Route(heartbeat_path("{execution_id}"), self.heartbeat, methods=["POST"]),
            Route(CONTAINER_READY_PATH, self.container_ready, methods=["POST"]),
            Route(CONTAINER_EXITED_PATH, self.container_exited, methods=["POST"]),
            Route(uploads_path("{execution_id}"), self.uploads, methods=["POST"]),
        ]
        if self._objects is not None:
            routes.append(Route(f"{LOCAL_PATH}/{{key:path}}", self.put_object, methods=["PUT"]))
        return Starlette(routes=routes, exception_handlers={_Refused: _answer_refused})

    async def container_ready(self, request: Request) -> Response:
        """An executor takes work."""
        self._check_shared_token(request)
        said = _parse(ContainerReady, await _read(request, _SMALL_BYTES))
        pod = self._pipeline.pods.say_ready(said.pod_name, said.ready_at, _peer(request))
        if pod is not None:
            self._pipeline.containers.see(pod, ready=True)
            self._pipeline.schedule(pod.pool)
        logger.info("executor ready", pod=said.pod_name, container_id=said.container_id)
        return Response(status_code=204)

    async def container_exited(self, request: Request) -> Response:
        """An executor is about to end; what it ran, it reports itself."""
        self._check_shared_token(request)
        said = _parse(ContainerExited, await _read(request, _SMALL_BYTES))
        self._pipeline.pods.say_exited(said.pod_name, _peer(request))
        pod = self._pipeline.pods.get(said.pod_name)
        if pod is not None:
            self._pipeline.containers.say_exited(pod, _peer(request), said)
        logger.info("executor exits", pod=said.pod_name, exit_code=said.exit_code, exit_reason=said.exit_reason)
        return Response(status_code=204)

    async def heartbeat(self, request: Request) -> Response:
        """An execution still runs."""
        execution_id = request.path_params["execution_id"]
        attempt = self._check_report_token(execution_id, request)
        said = _parse(Heartbeat, await _read(request, bounds.STATUS_PROGRESS_BYTES))
        tails = Tails(said.stdout_tail, said.stderr_tail)
        known = self._reports.beat(execution_id, attempt, said.progress, tails, between=said.between)
        return Response(status_code=204 if known else 404)

    async def result(self, request: Request) -> Response:
        """How an execution ended; answered once it is written."""
        execution_id = request.path_params["execution_id"]
        attempt = self._check_report_token(execution_id, request)
        declared = _declared_length(request)
        size = MAX_REPORT_BYTES if declared is None else declared
        if size > _LARGE_BYTES and self._reports.must_wait(execution_id):
            await _discard(request)
            return _answer_held(execution_id)
        report = await self._read_report(request)
        if report.execution_id != execution_id:
            raise _Refused(422, "execution_id in the body is not the one in the path")
        try:
            status = await self._reports.take(execution_id, attempt, report, size)
        except KubeError:
            raise _Refused(503, "the API server does not answer") from None
        if status == 503:
            return _answer_held(execution_id)
        return JSONResponse({"execution_id": execution_id}, status_code=status)

    async def uploads(self, request: Request) -> Response:
        """An execution has ended, and its executor wants to store what is too large for its status."""
        execution_id = request.path_params["execution_id"]
        attempt = self._check_report_token(execution_id, request)
        said = _parse(UploadRequest, await _read(request, _LARGE_BYTES))
        try:
            answer = await self._reports.sign(execution_id, attempt, said)
        except UploadRefused as error:
            raise _Refused(413, str(error)) from None
        except StoreError as error:
            raise _Refused(503, str(error)) from None
        if answer is None:
            raise _Refused(404, "no such attempt runs, or there is no object store")
        return Response(answer.model_dump_json(), media_type="application/json", headers=_NOT_STORED)

    async def put_object(self, request: Request) -> Response:
        """One object for the folder that is the store; its URL is its permission."""
        assert self._objects is not None
        key = request.path_params["key"]
        query = request.query_params
        numbers = [query.get(name, "") for name in ("size", "expires")]
        if not all(_LENGTH.fullmatch(number) for number in numbers):
            raise _Refused(403, "this URL was not signed here")
        size, expires = map(int, numbers)
        if not self._objects.signer.accepts(key, size, expires, query.get("signature", "")):
            raise _Refused(403, "this URL was not signed here, or its time is over")
        if _declared_length(request) not in (None, size):
            raise _Refused(413, f"{size} bytes were signed")
        try:
            await self._objects.uploads.take(key, size, request.stream())
        except UploadRefused as error:
            raise _Refused(422, str(error)) from None
        except StoreError as error:
            raise _Refused(503, str(error)) from None
        return Response(status_code=200)

    async def _read_report(self, request: Request) -> ResultReport:
        length = _declared_length(request)
        if length is not None and length <= _LARGE_BYTES:
            return _parse(ResultReport, await _read(request, _LARGE_BYTES))
        async with self._large:
            return _parse(ResultReport, await _read(request, MAX_REPORT_BYTES))

    def _check_shared_token(self, request: Request) -> None:
        if not self._matches_token(_bearer(request)):
            raise _Refused(401, "the bearer token is missing or wrong")
        self._check_ready()

    def _check_report_token(self, execution_id: str, request: Request) -> int:
        token = _bearer(request)
        attempt = None
        if len(execution_id) == EXECUTION_ID_LENGTH:
            attempt = self._reports.find_attempt(execution_id, token)
        if attempt is None:
            raise _Refused(401, "the bearer token is missing or not this execution's report token")
        self._check_ready()
        return attempt

    def _check_ready(self) -> None:
        """Before everything has been listed, an unknown execution proves nothing: the executor shall try again."""
        if not self._ready():
            raise _Refused(503, "the controller is starting")


def _peer(request: Request) -> str:
    """The address that a call comes from."""
    return request.client.host if request.client else ""


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and len(token) <= _TOKEN_LENGTH else ""


def _declared_length(request: Request) -> int | None:
    """Bytes, by the header; None without one that can be read: what comes is counted in any case."""
    text = request.headers.get("content-length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


async def _read(request: Request, limit: int) -> bytes:
    length = _declared_length(request)
    if length is not None and length > limit:
        raise _Refused(413, f"the body is longer than {limit} bytes")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > limit:
            raise _Refused(413, f"the body is longer than {limit} bytes")
    return bytes(raw)


async def _discard(request: Request) -> None:
    """Takes a body off the wire, so that its sender reads the answer; keeps nothing of it."""
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > MAX_REPORT_BYTES:
            raise _Refused(413, f"the body is longer than {MAX_REPORT_BYTES} bytes")


def _answer_held(execution_id: str) -> Response:
    text = "written; the Control Plane has not taken all of it yet, so keep it and send it again"
    body = {"execution_id": execution_id, "description": text}
    return JSONResponse(body, status_code=503, headers={"Retry-After": str(_HOLD_S)})


def _parse(model: type[_Model], raw: bytes) -> _Model:
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise _Refused(422, f"{where}: {first['msg']}") from None


async def _answer_refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, _Refused):
        raise error
    return JSONResponse({"description": error.description}, status_code=error.status)
