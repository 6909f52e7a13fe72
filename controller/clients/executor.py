"""The executors' HTTP API, as the controller calls it: dispatch, ask, cancel, look at the health.

Redirects are off, proxies from the environment too: a captured executor must not be able
to send the controller's requests, and its tokens, anywhere else.
"""

import io
import json
from collections.abc import Callable, Mapping
from typing import Final, Literal

import aiohttp
from pydantic import ValidationError

from contracts import bounds
from contracts.errors import ErrorBody, ErrorCode
from contracts.executor_api import (
    ATTEMPT_HEADER,
    EPOCH_HEADER,
    OWNER_HEADER,
    RUN_HEADER,
    ExecutionList,
    ExecutionRequest,
    ExecutionState,
    Health,
)
from contracts.tracing import TRACE_HEADER
from controller.errors import ExecutorError, ExecutorFenced, ExecutorRefusal, ExecutorUnreachable

_CONNECT_TIMEOUT_S: Final = 5.0
_TIMEOUT_S: Final = 30.0
_ANSWER_BYTES: Final = 160 * 1_048_576
"""Two streams and a return value at their bounds, escaped as JSON at its worst (six bytes a byte)."""
_ERROR_BYTES: Final = 65_536
_CONNECTIONS: Final = 256
_LARGE_BYTES: Final = 262_144
_NOT_TAKEN: Final = frozenset(
    {ErrorCode.UNAUTHORIZED, ErrorCode.STALE_EPOCH, ErrorCode.QUEUE_FULL, ErrorCode.TERMINATING}
)
"""Only the executor itself says these, and nothing of the request has been begun then."""
_Method = Literal["GET", "POST", "PUT", "DELETE"]


class ExecutorClient:
    """Calls executors by their URL. ``read_token`` gives the token for their API at each call.

    ``read_previous`` gives the one before, where that may still be what an executor knows: its kubelet may
    write a rotated token a minute after ours. ``read_epoch`` gives the leader's epoch, right before each call that
    changes something there, or raises where this process does not lead.
    """

    def __init__(
        self,
        read_token: Callable[[], str],
        read_previous: Callable[[], str | None] = lambda: None,
        read_epoch: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._read_token = read_token
        self._read_previous = read_previous
        self._read_epoch = read_epoch
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

    async def execute(
        self,
        url: str,
        request: ExecutionRequest,
        attempt: int,
        run_id: str = "",
        *,
        owner: str = "",
        traceparent: str = "",
    ) -> None:
        """Hands over an attempt; returns once the executor has taken it (idempotent by ``execution_id`` and attempt).

        ``run_id``: the run of the executor that is meant; after a restart it refuses, for it has forgotten what it ran.
        ``owner``: the uid of the Execution whose output it will be.

        Raises:
            ExecutorUnreachable: no answer, or one after which the same request may succeed.
            ExecutorRefusal: the executor will never take it.
            ExecutorFenced: the executor will not take it, and an earlier try may have been taken.
        """
        body = request.model_dump(mode="json", exclude_unset=True)
        if request.report_token is not None:
            body["report_token"] = request.report_token.get_secret_value()
        headers = {**_attempt(attempt), **_run(run_id)}
        if owner:
            headers[OWNER_HEADER] = owner
        if traceparent:
            headers[TRACE_HEADER] = traceparent
        status, raw = await self._call("POST", f"{url}/execute", body, headers)
        if status not in (200, 202):
            raise _failure(status, raw)

    async def ask(self, url: str, execution_id: str) -> ExecutionState | None:
        """Where an execution is, with its result once it has ended; None when the executor does not know it.

        Raises:
            ExecutorUnreachable: no answer, or not one that can be read.
        """
        status, raw = await self._call("GET", f"{url}/executions/{execution_id}")
        return None if status == 404 else _read_state("GET", status, raw)

    async def bury(self, url: str, execution_id: str, attempt: int, run_id: str = "") -> ExecutionState | None:
        """As ``ask``; but where it does not know this attempt, it leaves a tombstone: it will never begin it.

        Raises:
            ExecutorUnreachable: no answer, or not one that can be read.
            ExecutorFenced: it is not the run of the executor that was meant, where one is named.
        """
        headers = {**_attempt(attempt), **_run(run_id)}
        status, raw = await self._call("PUT", f"{url}/executions/{execution_id}/tombstone", headers=headers)
        if run_id and status == 412 and isinstance(fenced := _failure(status, raw), ExecutorFenced):
            raise fenced
        if status in (404, 405):  # an executor of a version before tombstones
            return await self.ask(url, execution_id)
        return None if status == 201 else _read_state("PUT", status, raw)

    async def cancel(self, url: str, execution_id: str, attempt: int) -> bool:
        """Kills an attempt's process tree; False when the executor does not know it.

        Raises:
            ExecutorUnreachable: no answer, or one after which the same request may succeed.
        """
        status, raw = await self._call("DELETE", f"{url}/executions/{execution_id}", headers=_attempt(attempt))
        if status >= 300 and status not in (404, 409):
            raise ExecutorUnreachable(f"DELETE /executions answered {status}")
        return status != 404

    async def list_active(self, url: str) -> list[ExecutionState]:
        """The executions that wait or run there.

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
        return [state for state in found.executions if state.state != "ended"]

    async def read_health(self, url: str) -> Health | None:
        """What the executor says about itself; None when it is not healthy."""
        status, raw = await self._call("GET", f"{url}/health")
        try:
            return Health.model_validate_json(raw) if status == 200 else None
        except ValidationError:
            return None

    async def _call(
        self, method: _Method, url: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        data = None if body is None else _encode(body)
        status, raw = await self._send(method, url, data, {**(headers or {}), **_bearer(self._read_token())})
        if status == 401 and (previous := self._read_previous()) is not None:
            return await self._send(method, url, data, {**(headers or {}), **_bearer(previous)})
        return status, raw

    async def _send(self, method: _Method, url: str, data: bytes | None, given: Mapping[str, str]) -> tuple[int, bytes]:
        headers = {**given, "Prefer": "respond-async"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if method != "GET" and (epoch := self._read_epoch()) is not None:
            headers[EPOCH_HEADER] = str(epoch)
        try:
            async with self._open().request(
                method, url, data=_streamed(data), headers=headers, allow_redirects=False
            ) as response:
                limit = _ANSWER_BYTES if response.status < 300 else _ERROR_BYTES
                return response.status, await _read_bounded(response, limit)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            never_sent = isinstance(error, aiohttp.ClientConnectorError)
            raise ExecutorUnreachable(f"{method}: {type(error).__name__}", taken=not never_sent, silent=True) from error


def _attempt(number: int) -> dict[str, str]:
    return {ATTEMPT_HEADER: str(number)}


def _run(run_id: str) -> dict[str, str]:
    return {RUN_HEADER: run_id} if run_id else {}


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _read_state(method: _Method, status: int, raw: bytes) -> ExecutionState:
    if status != 200:
        raise ExecutorUnreachable(f"{method} /executions answered {status}")
    try:
        return ExecutionState.model_validate_json(raw)
    except ValidationError:
        raise ExecutorUnreachable(f"{method} /executions answered what is not an ExecutionState") from None


def _encode(body: object) -> bytes:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
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
    return data


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


def _failure(status: int, raw: bytes) -> ExecutorError:
    try:
        body = ErrorBody.model_validate_json(raw)
    except ValidationError:
        body = ErrorBody(error_code="Executor.Unknown", description=f"it answered {status}", request_id="")
    if body.error_code in (ErrorCode.TOMBSTONE, ErrorCode.OTHER_RUN):
        return ExecutorFenced(body.description, other_run=body.error_code == ErrorCode.OTHER_RUN)
    if status not in (400, 409, 413, 422):
        return ExecutorUnreachable(
            f"POST /execute answered {status} {body.error_code}", taken=body.error_code not in _NOT_TAKEN
        )
    return ExecutorRefusal(status, body)
