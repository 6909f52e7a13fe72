"""The executors' HTTP API, as the controller calls it: dispatch, ask, cancel, look at the health.

Redirects are off, proxies from the environment too: a captured executor must not be able
to send the controller's requests, and its tokens, anywhere else.
"""

import io
import json
from collections.abc import Callable
from typing import Final, Literal

import aiohttp
from pydantic import ValidationError

from contracts import bounds
from contracts.errors import ErrorBody
from contracts.executor_api import ExecutionList, ExecutionRequest, ExecutionState, Health
from controller.errors import ExecutorRefusal, ExecutorUnreachable

_CONNECT_TIMEOUT_S: Final = 5.0
_TIMEOUT_S: Final = 30.0
_ANSWER_BYTES: Final = 160 * 1_048_576
"""Two streams and a return value at their bounds, escaped as JSON at its worst (six bytes a byte)."""
_ERROR_BYTES: Final = 65_536
_CONNECTIONS: Final = 256
_LARGE_BYTES: Final = 262_144


class ExecutorClient:
    """Calls executors by their URL. ``read_token`` gives the token for their API at each call."""

    def __init__(self, read_token: Callable[[], str]) -> None:
        self._read_token = read_token
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=15),
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def execute(self, url: str, request: ExecutionRequest) -> None:
        """Hands over an execution; returns once the executor has taken it (idempotent by ``execution_id``).

        Raises:
            ExecutorUnreachable: no answer, or one after which the same request may succeed.
            ExecutorRefusal: the executor will never take it.
        """
        body = request.model_dump(mode="json", exclude_unset=True)
        if request.report_token is not None:
            body["report_token"] = request.report_token.get_secret_value()
        status, raw = await self._call("POST", f"{url}/execute", body)
        if status not in (200, 202):
            raise _failure(status, raw)

    async def ask(self, url: str, execution_id: str) -> ExecutionState | None:
        """Where an execution is, with its result once it has ended; None when the executor does not know it.

        Raises:
            ExecutorUnreachable: no answer, or not one that can be read.
        """
        status, raw = await self._call("GET", f"{url}/executions/{execution_id}")
        if status == 404:
            return None
        if status != 200:
            raise ExecutorUnreachable(f"GET /executions answered {status}")
        try:
            return ExecutionState.model_validate_json(raw)
        except ValidationError:
            raise ExecutorUnreachable("GET /executions answered what is not an ExecutionState") from None

    async def cancel(self, url: str, execution_id: str) -> bool:
        """Kills an execution's process tree; False when the executor does not know it.

        Raises:
            ExecutorUnreachable: no answer, or one after which the same request may succeed.
        """
        status, raw = await self._call("DELETE", f"{url}/executions/{execution_id}")
        if status >= 300 and status not in (404, 409):
            raise ExecutorUnreachable(f"DELETE /executions answered {status}")
        return status != 404

    async def list_active(self, url: str) -> list[str]:
        """The ids of the executions that wait or run there.

        Raises:
            ExecutorUnreachable: no answer, or not one that can be read.
        """
        status, raw = await self._call("GET", f"{url}/executions")
        try:
            found = ExecutionList.model_validate_json(raw) if status == 200 else None
        except ValidationError:
            found = None
        if found is None:
            raise ExecutorUnreachable(f"GET /executions answered {status}")
        return [state.execution_id for state in found.executions if state.state != "ended"]

    async def read_health(self, url: str) -> Health | None:
        """What the executor says about itself; None when it is not healthy."""
        status, raw = await self._call("GET", f"{url}/health")
        try:
            return Health.model_validate_json(raw) if status == 200 else None
        except ValidationError:
            return None

    async def _call(self, method: Literal["GET", "POST", "DELETE"], url: str, body: object = None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._read_token()}", "Prefer": "respond-async"}
        data = None
        if body is not None:
            data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            headers["Content-Type"] = "application/json"
            if len(data) > bounds.MAX_REQUEST_BYTES:
                raise ExecutorRefusal(
                    413,
                    ErrorBody(
                        error_code="Executor.ValidationError",
                        description=f"the request is {len(data)} bytes long; executors take {bounds.MAX_REQUEST_BYTES}",
                        solution="make code, stdin, event or env smaller",
                        request_id="",
                    ),
                )
        try:
            async with self._open().request(
                method, url, data=_streamed(data), headers=headers, allow_redirects=False
            ) as response:
                limit = _ANSWER_BYTES if response.status < 300 else _ERROR_BYTES
                return response.status, await _read_bounded(response, limit)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ExecutorUnreachable(f"{method}: {type(error).__name__}") from error


def _streamed(data: bytes | None) -> bytes | io.BytesIO | None:
    """A large body goes out piece by piece, so that it does not hold up the loop."""
    return io.BytesIO(data) if data is not None and len(data) > _LARGE_BYTES else data


async def _read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    raw = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        raw += chunk
        if len(raw) > limit:
            raise ExecutorUnreachable(f"the answer is longer than {limit} bytes")
    return bytes(raw)


def _failure(status: int, raw: bytes) -> ExecutorRefusal | ExecutorUnreachable:
    if status not in (400, 409, 413, 422):
        return ExecutorUnreachable(f"POST /execute answered {status}")
    try:
        body = ErrorBody.model_validate_json(raw)
    except ValidationError:
        body = ErrorBody(error_code="Executor.Unknown", description=f"it answered {status}", request_id="")
    return ExecutorRefusal(status, body)
