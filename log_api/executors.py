"""Reads an execution's output from the executor that has it: ``GET /executions/{id}/output``.

The executor runs hostile code and may have been captured by it: its answers are bounded and checked, redirects are not
followed, and where it listens is read from its Pod, which users cannot write.
"""

import socket
from collections.abc import AsyncGenerator, Callable
from typing import Final

import aiohttp

from contracts import output_events
from controller import names
from controller.clients.kube import KubeClient
from controller.errors import KubeError, KubeNotFound, SettingsError
from controller.resources import parse_pod
from log_api.errors import OutputBroken, OutputUnknown, bad_request
from log_api.events import Chunk, Cursor, End, Event, Gap, KeepAlive, Pause, advance
from log_api.executions import View

_CONNECT_TIMEOUT_S: Final = 5.0
_SILENCE_S: Final = 30.0
"""An executor says at least every 10 s that it lives."""
_RECEIVE_BUFFER_BYTES: Final = 262_144
"""What lies in it when this process ends has to be kept by the executor, for it is asked for again. The kernel would
let it grow to what ``tcp_rmem`` says, 32 MiB on some machines."""
_UNKNOWN: Final = frozenset({404, 405})
"""Not this id, attempt or owner; or an executor of a version that tells no output."""


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
            StatusError: 400; the cursor is beyond what there is.
        """
        url = await self._find(view)
        response = await self._open(url, view, cursor, follow=follow)
        try:
            reader = output_events.FieldReader()
            async for data in response.content.iter_any():
                for fields in reader.feed(data):
                    if not fields:
                        yield KeepAlive()
                        continue
                    told = output_events.decode(fields)
                    if told is None:
                        continue  # of a later version
                    event = _check(told, cursor)
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
        query = {
            "stdout": str(cursor.position.stdout),
            "stderr": str(cursor.position.stderr),
            "follow": str(follow).lower(),
            "attempt": str(view.attempt),
            "owner": view.uid,
        }
        try:
            response = await self._send(url, query, self._read_token())
            if response.status == 401 and (previous := self._read_previous()) is not None:
                response.close()
                response = await self._send(url, query, previous)
        except (TimeoutError, aiohttp.ClientError, OSError, SettingsError) as error:
            raise OutputBroken(f"the executor does not answer: {type(error).__name__}") from error
        if response.status == 200 and response.content_type == "text/event-stream":
            return response
        response.close()
        if response.status in _UNKNOWN:
            raise OutputUnknown(f"the executor answered {response.status}")
        if response.status == 400:
            raise bad_request(f"stdoutOffset or stderrOffset is beyond what attempt {view.attempt} has printed so far")
        raise OutputBroken(f"the executor answered {response.status}", busy=response.status == 429)

    async def _send(self, url: str, query: dict[str, str], token: str) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15, socket_factory=_make_socket),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=self._silence_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        return await self._session.get(url, params=query, headers=headers, allow_redirects=False)


def _make_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    return made


def _check(event: output_events.Event, cursor: Cursor) -> Event:
    """The event as we pass it on.

    Raises:
        ValueError: it does not follow what came before.
    """
    found: Event
    match event:
        case output_events.Chunk(stream, data):
            found = Chunk(stream, data)
        case output_events.Gap(stream, begin, end) if begin == cursor.of(stream) <= end:
            found = Gap(stream, begin, end)
        case output_events.Pause():
            found = Pause()
        case output_events.End(ending):
            found = End(ending)
        case _:
            raise ValueError("a gap that does not follow")
    if advance(cursor, found).position != event.after:
        raise ValueError("an event that does not follow")
    return found
