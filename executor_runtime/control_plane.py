"""The executor's client of the Control Plane's internal API: one call, and the table of when to call again.

Whatever ``CONTROL_PLANE_URL`` names is spoken to the same way, the controller or a real Control
Plane (``contracts.control_plane_api``). Redirects are not followed and proxy variables are not
read, so that a token goes only where it was meant to go.
"""

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
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
_MAX_BODY_BYTES: Final = 1_048_576
"""A hundred URLs with their signatures and tokens."""
_DETAIL_CHARS: Final = 200
_LARGE_BYTES: Final = 262_144
_IDLE_S: Final = 4.0
"""Common servers close an idle connection after five seconds; one that they close under a call costs an attempt."""

Send = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""One POST: to this URL, with this body and these headers; the answer's status.

Raises ``aiohttp.ClientError``, ``OSError`` or ``TimeoutError``.
"""

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

    def __init__(self, base_url: str, token: Token, send: Send | None = None) -> None:
        """``send``: what sends them; over HTTP unless told."""
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._http = _Http()
        self._send = send or self._http.post

    async def post(self, call: Call) -> Answer:
        """One attempt. The token is read anew, as it may have been rotated since the last one."""
        try:
            async with asyncio.timeout(_WHOLE_CALL_TIMEOUT_S):
                status = await self._send(self._base_url + call.path, call.body, self._headers(call))
        except TimeoutError:
            return Answer(Outcome.UNREACHABLE, "timed out")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(Outcome.UNREACHABLE, f"{type(error).__name__}: {error}"[:_DETAIL_CHARS])
        return Answer(judge_status(status), f"HTTP {status}")

    async def ask(self, call: Call) -> tuple[Answer, bytes]:
        """One attempt at a call whose answer has a body, which is for nobody else; empty unless it is ``ACCEPTED``."""
        try:
            async with asyncio.timeout(_WHOLE_CALL_TIMEOUT_S):
                url = self._base_url + call.path
                status, body = await self._http.ask(url, call.body, self._headers(call), _MAX_BODY_BYTES)
        except TimeoutError:
            return Answer(Outcome.UNREACHABLE, "timed out"), b""
        except (aiohttp.ClientError, OSError) as error:
            return Answer(Outcome.UNREACHABLE, type(error).__name__), b""
        outcome = judge_status(status)
        return Answer(outcome, f"HTTP {status}"), body if outcome is Outcome.ACCEPTED else b""

    def resolve(self, url: str) -> str:
        """A URL that an answer has: a path is one of the Control Plane's own."""
        return self._base_url + url if url.startswith("/") else url

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
        await self._http.close()


class _Http:
    """A connection for each call that is under way, kept for the next one. aiohttp takes a sixth of httpx's time."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """As ``Send``."""
        status, _ = await self.ask(url, body, headers, _MAX_ANSWER_BYTES)
        return status

    async def ask(self, url: str, body: bytes, headers: Mapping[str, str], most_bytes: int) -> tuple[int, bytes]:
        """A POST, and its answer's body; that is empty where it is longer than an answer may be."""
        data = io.BytesIO(body) if len(body) > _LARGE_BYTES else body  # piece by piece, so that the loop goes on
        async with self._open().post(url, data=data, headers=headers, allow_redirects=False) as response:
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > most_bytes:
                    return response.status, b""
            return response.status, bytes(answer)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Heartbeats must not wait for connections that hanging reports hold.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()


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
