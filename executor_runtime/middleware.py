"""What every request goes through: an id, authentication, and one form of error.

Plain ASGI, because a simple execution must not pay for more. Errors of the framework (404, 405)
and of our own code leave in the same form as everything else (the seed's T009, T094).
"""

import asyncio
import re
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import ErrorBody
from contracts.tracing import TRACE_HEADER, parse_traceparent
from executor_runtime.errors import RequestError, Unauthorized
from executor_runtime.metrics import Metrics
from executor_runtime.secret import Token

REQUEST_ID_HEADER: Final = "X-Request-ID"
_SANE_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_OPEN: Final = frozenset({("GET", "/health"), ("GET", "/metrics")})
_QUIET: Final = frozenset({"/health", "/metrics"})

_LINGER_BYTES: Final = 128 * 1_048_576
_LINGER_S: Final = 5.0

log = structlog.get_logger()


Endpoint = Callable[[Request], Awaitable[Response]]


class RequestContext:
    """The outermost application.

    ``direct``: what answers requests with this method and path without the framework's router and its layers, which
    take a tenth of the executor's time for a small execution.
    """

    def __init__(
        self, app: ASGIApp, token: Token, metrics: Metrics, debug: bool, direct: Mapping[tuple[str, str], Endpoint]
    ) -> None:
        self._app = app
        self._direct = direct
        self._token = token
        self._metrics = metrics
        self._debug = debug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = take_request_id(Headers(scope=scope).get(REQUEST_ID_HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        traceparent = Headers(scope=scope).get(TRACE_HEADER)
        if traceparent is not None and parse_traceparent(traceparent) is not None:
            structlog.contextvars.bind_contextvars(traceparent=traceparent)
        answer = _Answer(send, request_id)
        begun = time.perf_counter()
        try:
            self._authenticate(scope)
            endpoint = self._direct.get((scope["method"], scope["path"]))
            if endpoint is None:
                await self._app(scope, receive, answer.send)
            else:
                response = await endpoint(Request(scope, receive))
                await response(scope, receive, answer.send)
        except ClientDisconnect:
            log.info("client_disconnected")
        except RequestError as error:
            await self._refuse(error, receive, answer)
        except Exception as error:
            log.exception("request_broke", path=scope["path"])
            await self._refuse(self._hide(error), receive, answer)
        quiet = scope["path"] in _QUIET
        (log.debug if quiet else log.info)(
            "request_answered",
            method=scope["method"],
            path=scope["path"][:256],
            status=answer.status,
            duration_ms=round((time.perf_counter() - begun) * 1000, 1),
        )

    def _authenticate(self, scope: Scope) -> None:
        if not self._token.required or (scope["method"], scope["path"]) in _OPEN:
            return
        scheme, _, presented = Headers(scope=scope).get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._token.matches(presented.strip()):
            raise Unauthorized("This request is not authorized.", solution="Send Authorization: Bearer and the token.")

    def _hide(self, error: Exception) -> RequestError:
        """No stack trace and no path for strangers, unless DEBUG is on (T097)."""
        detail = "".join(traceback.format_exception(error)) if self._debug else ""
        return RequestError("The executor failed.", detail, "Send the request_id to whoever runs this executor.")

    async def _refuse(self, error: RequestError, receive: Receive, answer: "_Answer") -> None:
        self._metrics.count_refusal(error.code)
        if answer.status:
            return
        body = build_error_body(error, answer.request_id)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await answer.send({"type": "http.response.start", "status": error.http_status, "headers": raw})
        await answer.send({"type": "http.response.body", "body": body, "more_body": error.close_connection})
        if error.close_connection:
            await _linger(receive)
            await answer.send({"type": "http.response.body", "body": b""})


class _Answer:
    """Remembers the status and adds the request id."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID_HEADER] = self.request_id
        await self._send(message)


def take_request_id(given: str | None) -> str:
    """The client's id if it is sane enough for logs and headers, else a new one."""
    return given if given is not None and _SANE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def build_error_body(error: RequestError, request_id: str) -> bytes:
    """The error as JSON."""
    return (
        ErrorBody(
            error_code=error.code,
            description=error.description,
            error_detail=error.detail,
            solution=error.solution,
            request_id=request_id,
        )
        .model_dump_json()
        .encode()
    )


async def _linger(receive: Receive) -> None:
    """Reads on before the connection closes, and throws away what it reads.

    A client that looks for an answer only when it has sent everything (httpx does) would get a reset instead.
    The refusal is out by now, nothing is held, and whoever sends on without end is cut off.
    """
    received = 0
    try:
        async with asyncio.timeout(_LINGER_S):
            while received < _LINGER_BYTES:
                message = await receive()
                received += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
