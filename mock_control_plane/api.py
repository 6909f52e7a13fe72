"""The routes of ``contracts.control_plane_api``, and a page that shows what came in on them.

Answers as a Control Plane's: 401 for a wrong token, 422 for a wrong body, 404 for what cannot be an execution's id,
201, 200 or 409 for a result (``journal``). Unlike a real one it knows no executions beforehand, so it takes reports
on any.
"""

import hmac
import re
from typing import Final, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ValidationError

from contracts.control_plane_api import (
    CONTAINER_EXITED_PATH,
    CONTAINER_READY_PATH,
    ContainerExited,
    ContainerReady,
    Heartbeat,
    ResultReport,
    heartbeat_path,
    result_path,
)
from contracts.ids import EXECUTION_ID_PATTERN
from mock_control_plane.errors import Refused
from mock_control_plane.journal import Journal, Kind, Report
from mock_control_plane.view import build_document, build_page, describe, describe_refusal

MAX_BODY_BYTES: Final = 160 * 1_048_576
"""Two streams and a return value at their bounds, as the worst JSON can write them (six bytes a byte)."""

_NO_SCRIPTS: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
_Model = TypeVar("_Model", bound=BaseModel)


class MockControlPlane:
    """``token`` is what callers of the internal API must show; the page needs none."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._journal = Journal()

    def build(self) -> FastAPI:
        """The application."""
        app = FastAPI(title="Mock Control Plane", docs_url=None, redoc_url=None, openapi_url=None)
        app.add_exception_handler(Refused, _answer_refused)
        app.add_api_route(CONTAINER_READY_PATH, self.container_ready, methods=["POST"])
        app.add_api_route(CONTAINER_EXITED_PATH, self.container_exited, methods=["POST"])
        app.add_api_route(heartbeat_path("{execution_id}"), self.heartbeat, methods=["POST"])
        app.add_api_route(result_path("{execution_id}"), self.result, methods=["POST"])
        app.add_api_route("/", self.show, methods=["GET"])
        app.add_api_route("/health", _tell_healthy, methods=["GET"])
        return app

    async def container_ready(self, request: Request) -> Response:
        """An executor takes work."""
        said = await self._read(ContainerReady, request)
        return self._take("ready", said.container_id, 200, said)

    async def container_exited(self, request: Request) -> Response:
        """An executor is about to end."""
        said = await self._read(ContainerExited, request)
        return self._take("exited", said.container_id, 200, said)

    async def heartbeat(self, execution_id: str, request: Request) -> Response:
        """An execution still runs."""
        said = await self._read(Heartbeat, request)
        _check_id(execution_id)
        return self._take("heartbeat", execution_id, 200, said)

    async def result(self, execution_id: str, request: Request) -> Response:
        """How an execution ended."""
        said = await self._read(ResultReport, request)
        _check_id(execution_id)
        if said.execution_id != execution_id:
            raise Refused(422, "execution_id in the body is not the one in the path")
        return self._take("result", execution_id, self._journal.judge_result(said), said)

    async def show(self, request: Request) -> Response:
        """Everything that was received: a page for browsers, JSON for everybody else."""
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(build_page(self._journal.entries), headers=_NO_SCRIPTS)
        return JSONResponse(build_document(self._journal.entries))

    async def _read(self, model: type[_Model], request: Request) -> _Model:
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(presented.strip().encode(), self._token):
            raise Refused(401, "the bearer token is missing or wrong")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Refused(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        try:
            return model.model_validate_json(bytes(body))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise Refused(422, f"{where}: {first['msg']}") from None

    def _take(self, kind: Kind, subject: str, status: int, said: Report) -> Response:
        print(describe(self._journal.write(kind, subject, status, said)), flush=True)
        return JSONResponse({"status": status}, status_code=status)


async def _tell_healthy() -> Response:
    return JSONResponse({"status": "healthy"})


def _check_id(execution_id: str) -> None:
    if not re.fullmatch(EXECUTION_ID_PATTERN, execution_id):
        raise Refused(404, f"no execution has such an id; one looks like {EXECUTION_ID_PATTERN}")


async def _answer_refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    print(describe_refusal(error.status, request.url.path, error.description), flush=True)
    return JSONResponse({"error": error.description}, status_code=error.status)
