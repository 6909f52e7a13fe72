"""The executor's client of the Control Plane's internal API: one call, and the table of when to call again.

Whatever ``CONTROL_PLANE_URL`` names is spoken to the same way, the controller or a real Control
Plane (``contracts.control_plane_api``). Redirects are not followed and proxy variables are not
read, so that a token goes only where it was meant to go.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import httpx
import structlog

from contracts.control_plane_retry import (
    CONNECT_TIMEOUT_S,
    MAX_ATTEMPTS,
    READ_TIMEOUT_S,
    Outcome,
    backoff_s,
    judge_status,
)
from contracts.tracing import TRACE_HEADER
from executor_runtime.clock import Clock
from executor_runtime.secret import Token

_WHOLE_CALL_TIMEOUT_S: Final = 60.0
"""Against a server that answers a byte at a time: the read timeout is for each read."""

_MAX_ANSWER_BYTES: Final = 65_536

log = structlog.get_logger()


@dataclass(frozen=True)
class Answer:
    """How one call went; ``detail`` is for logs and holds nothing of the request."""

    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Call:
    """One POST. ``token`` None: the executor's own. ``request_id``, ``traceparent`` None: those of the request that led
    here, if any."""

    path: str
    body: bytes
    token: str | None = None
    idempotency_key: str | None = None
    request_id: str | None = None
    traceparent: str | None = None


class ControlPlane:
    """Makes calls. One instance a process; ``aclose`` it."""

    def __init__(self, base_url: str, token: Token, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._http = httpx.AsyncClient(
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # Heartbeats must not wait for connections that hanging reports hold.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )

    async def post(self, call: Call) -> Answer:
        """One attempt. The token is read anew, as it may have been rotated since the last one."""
        try:
            async with asyncio.timeout(_WHOLE_CALL_TIMEOUT_S):
                status = await self._send(call)
        except TimeoutError:
            return Answer(Outcome.UNREACHABLE, "timed out")
        except (httpx.HTTPError, OSError) as error:
            return Answer(Outcome.UNREACHABLE, f"{type(error).__name__}: {error}")
        return Answer(judge_status(status), f"HTTP {status}")

    async def _send(self, call: Call) -> int:
        url = self._base_url + call.path
        async with self._http.stream("POST", url, content=call.body, headers=self._headers(call)) as response:
            received = 0
            async for chunk in response.aiter_raw():
                received += len(chunk)
                if received > _MAX_ANSWER_BYTES:
                    break
            return response.status_code

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        token = call.token or self._token.read()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if call.idempotency_key:
            headers["Idempotency-Key"] = call.idempotency_key
        request_id = call.request_id or structlog.contextvars.get_contextvars().get("request_id")
        if request_id:
            headers["X-Request-ID"] = request_id
        traceparent = call.traceparent or structlog.contextvars.get_contextvars().get("traceparent")
        if traceparent:
            headers[TRACE_HEADER] = traceparent
        return headers

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._http.aclose()


async def retry(attempt: Callable[[], Awaitable[Answer]], clock: Clock, what: str) -> Answer:
    """At most five attempts with growing pauses; the last answer, which may be no final one (T037, T041)."""
    answer = await attempt()
    for failures in range(1, MAX_ATTEMPTS):
        if answer.outcome.final:
            return answer
        pause_s = backoff_s(failures)
        log.warning("call_retried", call=what, attempt=failures, answer=answer.detail, pause_s=pause_s)
        await clock.sleep(pause_s)
        answer = await attempt()
    return answer
