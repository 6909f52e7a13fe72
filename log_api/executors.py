"""Reads an execution's output from the executor that has it: ``GET /executions/{id}/output``.

The executor runs hostile code and may have been captured by it: its answers are bounded and checked, redirects are not
followed, and where it listens is read from its Pod, which users cannot write.
"""

import base64
import binascii
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

import aiohttp

from contracts.executor_api import ATTEMPT_HEADER, OWNER_HEADER, RUN_HEADER
from controller import names
from controller.clients.kube import KubeClient
from controller.errors import KubeError, KubeNotFound, SettingsError
from controller.resources import parse_pod
from log_api.errors import OutputBroken, OutputUnknown
from log_api.events import STREAMS, Chunk, Cursor, End, Event, Gap, KeepAlive, Pause, Stream, advance
from log_api.executions import View
from log_api.sse import Message, read_messages

_CONNECT_TIMEOUT_S: Final = 5.0
_SILENCE_S: Final = 30.0
"""An executor says at least every 10 s that it lives."""
_UNKNOWN: Final = frozenset({404, 405, 410, 412})
"""Not this id or attempt, not this run of the executor, or an executor of a version that tells no output."""


class Executors:
    """The executors of one operator. ``read_token`` and ``read_previous`` give the tokens of their API."""

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        read_token: Callable[[], str],
        read_previous: Callable[[], str | None] = lambda: None,
        silence_s: float = _SILENCE_S,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._read_token = read_token
        self._read_previous = read_previous
        self._silence_s = silence_s
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def read(self, view: View, cursor: Cursor, *, follow: bool) -> AsyncGenerator[Event, None]:
        """What comes after the cursor; ends with ``End``, or without ``follow`` with ``Pause``.

        Raises:
            OutputUnknown: the executor or its pod is gone, or does not hold this attempt's output.
            OutputBroken: asking again may help, from where the last event has led to.
        """
        url = await self._find(view)
        response = await self._open(url, view, cursor, follow=follow)
        try:
            async with aclosing(read_messages(response.content.iter_any())) as messages:
                async for message in messages:
                    event = _parse(message, cursor)
                    if event is None:
                        continue
                    cursor = advance(cursor, event)
                    yield event
                    if isinstance(event, End | Pause):
                        return
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise OutputBroken(f"the executor's answer broke off: {type(error).__name__}") from error
        finally:
            response.close()
        raise OutputBroken("the executor's answer broke off")

    async def _find(self, view: View) -> str:
        try:
            body = await self._kube.get(names.core_path(self._namespace, "pods", view.pod_name))
        except KubeNotFound:
            raise OutputUnknown("the executor's pod is gone") from None
        except KubeError as error:
            raise OutputBroken("the executor's pod could not be read") from error
        labels = body["metadata"].get("labels") or {}
        pod = parse_pod(body)
        if pod is None or any(labels.get(key) != value for key, value in names.EXECUTOR_LABELS.items()):
            raise OutputUnknown("the pod is no executor")
        if not pod.ip or pod.finished:
            raise OutputUnknown("the executor's pod does not run")
        return f"{pod.url}/executions/{view.execution_id}/output"

    async def _open(self, url: str, view: View, cursor: Cursor, *, follow: bool) -> aiohttp.ClientResponse:
        query = {"stdout": str(cursor.stdout), "stderr": str(cursor.stderr), "follow": str(follow).lower()}
        headers = {ATTEMPT_HEADER: str(view.attempt), OWNER_HEADER: view.uid, "Accept": "text/event-stream"}
        if view.executor_run:
            headers[RUN_HEADER] = view.executor_run
        try:
            response = await self._send(url, query, headers, self._read_token())
            if response.status == 401 and (previous := self._read_previous()) is not None:
                response.close()
                response = await self._send(url, query, headers, previous)
        except (TimeoutError, aiohttp.ClientError, OSError, SettingsError) as error:
            raise OutputBroken(f"the executor does not answer: {type(error).__name__}") from error
        if response.status == 200 and response.content_type == "text/event-stream":
            return response
        response.close()
        if response.status in _UNKNOWN:
            raise OutputUnknown(f"the executor answered {response.status}")
        raise OutputBroken(f"the executor answered {response.status}")

    async def _send(
        self, url: str, query: dict[str, str], headers: dict[str, str], token: str
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=self._silence_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        bearer = {"Authorization": f"Bearer {token}"}
        return await self._session.get(url, params=query, headers={**headers, **bearer}, allow_redirects=False)


def _parse(message: Message, cursor: Cursor) -> Event | None:
    """An event; None for one of a kind that a later executor may have.

    Raises:
        ValueError: it is not what it should be, or does not follow what came before.
    """
    match message.kind:
        case "":
            return KeepAlive()
        case "stdout" | "stderr":
            return Chunk(message.kind, _decode(message.data))
        case "gap":
            return _parse_gap(json.loads(message.data), cursor)
        case "pause":
            return Pause()
        case "end":
            told = json.loads(message.data)
            return End(_text(told, "phase"), _number(told, "stdoutBytes"), _number(told, "stderrBytes"))
        case _:
            return None


def _parse_gap(told: Any, cursor: Cursor) -> Gap:
    name = _text(told, "stream")
    stream: Stream | None = next((each for each in STREAMS if each == name), None)
    start, end = _number(told, "from"), _number(told, "to")
    if stream is None or start != cursor.of(stream) or end < start:
        raise ValueError("a gap that follows not what came before")
    return Gap(stream, start, end)


def _decode(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def _text(told: Any, key: str) -> str:
    value = told.get(key) if isinstance(told, dict) else None
    if not isinstance(value, str):
        raise ValueError(f"{key} is missing")
    return value


def _number(told: Any, key: str) -> int:
    value = told.get(key) if isinstance(told, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} is missing")
    return value
