"""The Control Plane's internal API, as the controller calls it: one attempt, and what its answer means.

Redirects are off and proxies from the environment too, so that the token goes only where it was
meant to go. When a call is made again is the business of ``controller.relay``.

Only the leader may speak, and the Control Plane knows no epochs: so ``fence`` is asked before each call, and once more
when its connection is there. A leader that was stopped past its Lease and goes on says nothing after its successor.
"""

import asyncio
import io
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from contracts.control_plane_retry import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Outcome, judge_status
from contracts.tracing import TRACE_HEADER
from controller import names
from controller.errors import SettingsError

WHOLE_CALL_TIMEOUT_S: Final = 60.0
"""Against a server that answers a byte at a time: the read timeout is for each read."""
_ANSWER_BYTES: Final = 65_536
_LARGE_BYTES: Final = 262_144
_IDLE_S: Final = 4.0
"""Common servers close an idle connection after five seconds; one that they close under a call costs an attempt."""
_DETAIL_LENGTH: Final = 200
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")


@dataclass(frozen=True, slots=True)
class Call:
    """One POST; ``path`` is relative to the Control Plane's URL."""

    path: str
    body: bytes
    idempotency_key: str = ""
    timeout_s: float = WHOLE_CALL_TIMEOUT_S
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """How one attempt went; ``status`` is 0 without an answer, ``detail`` holds nothing of the request."""

    outcome: Outcome
    detail: str
    status: int = 0


class ControlPlaneClient:
    """Makes calls; ``close`` it. ``read_token`` gives the token at each call, because it may have been rotated."""

    def __init__(
        self,
        url: str,
        read_token: Callable[[], str],
        ca_file: Path | None = None,
        fence: Callable[[], object] = lambda: None,
    ) -> None:
        """``fence`` raises, or ends the process, where this one does not lead.

        Raises SettingsError when the CA bundle cannot be read.
        """
        self._fence = fence
        self._url = url.rstrip("/")
        self._read_token = read_token
        self._tls = _make_tls(ca_file)
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No bound of its own: the callers' bounds hold, and heartbeats must not wait behind results that hang.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                trace_configs=[self._make_trace()],
            )
        return self._session

    def _make_trace(self) -> aiohttp.TraceConfig:
        """Asks the fence between the connection and the request: a connection may take seconds."""

        async def check(*_: object) -> None:
            self._fence()

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(check)
        trace.on_connection_reuseconn.append(check)
        return trace

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def post(self, call: Call) -> Answer:
        """One attempt; whatever goes wrong is an answer, too.

        Raises:
            NotLeader: this process does not lead, or no longer.
        """
        try:
            headers = self._headers(call)
        except SettingsError as error:
            return Answer(Outcome.UNAUTHORIZED, str(error))
        timeout = aiohttp.ClientTimeout(
            total=call.timeout_s, sock_connect=CONNECT_TIMEOUT_S, sock_read=min(READ_TIMEOUT_S, call.timeout_s)
        )
        body = io.BytesIO(call.body) if len(call.body) > _LARGE_BYTES else call.body
        self._fence()
        try:
            async with (
                asyncio.timeout(call.timeout_s),
                self._open().post(
                    self._url + call.path, data=body, headers=headers, timeout=timeout, allow_redirects=False
                ) as response,
            ):
                await _drain(response)
                return Answer(judge_status(response.status), f"HTTP {response.status}", response.status)
        except TimeoutError:
            return Answer(Outcome.UNREACHABLE, "timed out")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(Outcome.UNREACHABLE, f"{type(error).__name__}: {error}"[:_DETAIL_LENGTH])

    def _headers(self, call: Call) -> dict[str, str]:
        token = self._read_token()
        if not _TOKEN.fullmatch(token):
            raise SettingsError("the Control Plane's token is not 1 to 4096 visible ASCII characters")
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": names.COMPONENT_NAME,
        }
        if call.idempotency_key:
            headers["Idempotency-Key"] = call.idempotency_key
        if call.traceparent:
            headers[TRACE_HEADER] = call.traceparent
        return headers


def _make_tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"cannot read the CA bundle {ca_file}: {type(error).__name__}") from None


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Reads the answer, so that its connection can be used again; a longer one is not worth it."""
    received = 0
    async for chunk in response.content.iter_chunked(_ANSWER_BYTES):
        received += len(chunk)
        if received > _ANSWER_BYTES:
            response.close()
            return
