"""Stands between the controller and the API server, and breaks what they say to each other.

Plain HTTP towards the controller, TLS towards the server; watches are passed on line by line. A test says what goes
wrong, for which resource and how often; everything else passes unchanged.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

Object = dict[str, Any]
EditEvent = Callable[[Object], list[Object]]
"""What a watch event becomes: nothing, itself, several."""
_HOP_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})


@dataclass
class Call:
    """One request of the controller."""

    method: str
    path: str
    query: dict[str, str]

    @property
    def watches(self) -> bool:
        """Whether it is a watch."""
        return self.query.get("watch") in ("true", "1")

    def is_about(self, resource: str) -> bool:
        """``executions`` is the collection and its objects; ``executions/status`` the subresource of one."""
        plural, _, subresource = resource.partition("/")
        below = self._below(plural)
        return below is not None and below[1:] == ([subresource] if subresource else [])

    def lists(self, resource: str) -> bool:
        """Whether it reads a whole collection."""
        return self.method == "GET" and not self.watches and self._below(resource) == []

    def _below(self, plural: str) -> list[str] | None:
        parts = self.path.strip("/").split("/")
        return parts[parts.index(plural) + 1 :] if plural in parts else None


Break = Callable[[web.Request, Call], Awaitable[web.StreamResponse | None]]


@dataclass
class FaultProxy:
    """An async context manager; ``url`` is what the controller's kubeconfig names."""

    upstream: str
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    lost: list[Call] = field(default_factory=list)
    """Those of them that came while it was cut off."""
    breaks: list[Break] = field(default_factory=list)
    edits: dict[str, EditEvent] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    cut: bool = False
    _streams: set[tuple[str, web.StreamResponse]] = field(default_factory=set)

    async def __aenter__(self) -> "FaultProxy":
        self._session = ClientSession(
            connector=TCPConnector(ssl=False, limit=0), timeout=ClientTimeout(total=None), auto_decompress=False
        )
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    # --- what goes wrong --------------------------------------------------------------------------------------

    def lose_answers(self, method: str, resource: str, times: int = 1) -> None:
        """The server does what it is asked, and the connection breaks before its answer is through."""

        async def lose(request: web.Request, _call: Call) -> web.StreamResponse:
            async with self._forward(request, await request.read()) as answer:
                await answer.read()
            return _abort(request)

        self._break(method, resource, times, lose)

    def drop(self, method: str, resource: str, times: int = 1) -> None:
        """The connection breaks before the server hears of it."""

        async def drop(request: web.Request, _call: Call) -> web.StreamResponse:
            return _abort(request)

        self._break(method, resource, times, drop)

    def refuse(self, method: str, resource: str, status: int, times: int = 1) -> None:
        """An answer of this status instead of the server's."""

        async def refuse(_request: web.Request, _call: Call) -> web.StreamResponse:
            body = {"kind": "Status", "code": status, "message": "broken on purpose", "reason": ""}
            return web.json_response(body, status=status)

        self._break(method, resource, times, refuse)

    def delay(self, method: str, resource: str, seconds: float, times: int = 1) -> None:
        """The request reaches the server late."""

        async def delay(_request: web.Request, _call: Call) -> web.StreamResponse | None:
            await asyncio.sleep(seconds)
            return None

        self._break(method, resource, times, delay)

    def answer_list(self, resource: str, body: Object, times: int = 1) -> None:
        """A list that was true once."""

        async def answer(_request: web.Request, _call: Call) -> web.StreamResponse:
            return web.json_response(body)

        self._break("LIST", resource, times, answer)

    def edit_events(self, resource: str, edit: EditEvent) -> None:
        """Changes what watches of a resource tell, from now on."""
        self.edits[resource] = edit

    def lose_events(self, resource: str, kind: str, name: str) -> None:
        """Events of this type about this object never arrive."""

        def lose(event: Object) -> list[Object]:
            return [] if (event["type"], _name(event)) == (kind, name) else [event]

        self.edit_events(resource, lose)

    async def tell(self, resource: str, event: Object) -> int:
        """Says something to the open watches of a resource; to how many."""
        told = 0
        for about, stream in list(self._streams):
            if about == resource:
                await stream.write(json.dumps(event).encode() + b"\n")
                told += 1
        return told

    def watching(self, resource: str) -> bool:
        """Whether a watch of it is open."""
        return any(about == resource for about, _ in self._streams)

    def _break(self, method: str, resource: str, times: int, how: Break) -> None:
        left = times

        async def once(request: web.Request, call: Call) -> web.StreamResponse | None:
            nonlocal left
            meant = call.lists(resource) if method == "LIST" else call.method == method and call.is_about(resource)
            if left <= 0 or not meant:
                return None
            left -= 1
            return await how(request, call)

        self.breaks.append(once)

    # --- what passes ------------------------------------------------------------------------------------------

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.method, request.path, dict(request.query))
        self.calls.append(call)
        if self.cut:
            self.lost.append(call)
            return _abort(request)
        for broken in self.breaks:
            if (answer := await broken(request, call)) is not None:
                return answer
        body = await request.read()
        try:
            async with self._forward(request, body) as upstream:
                if call.watches and upstream.status == 200:
                    return await self._stream(request, call, upstream)
                headers = {"Content-Type": upstream.headers.get("Content-Type", "application/json")}
                return web.Response(status=upstream.status, body=await upstream.read(), headers=headers)
        except ClientError:
            return _abort(request)

    def _forward(self, request: web.Request, body: bytes) -> Any:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        return self._session.request(
            request.method, self.upstream + request.raw_path, headers=headers, data=body or None
        )

    async def _stream(self, request: web.Request, call: Call, upstream: Any) -> web.StreamResponse:
        resource = call.path.rstrip("/").rpartition("/")[2]
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._streams.add((resource, response))
        rest = b""
        try:
            async for chunk in upstream.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    for event in self._edited(resource, json.loads(line)):
                        await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self._streams.discard((resource, response))
        return response

    def _edited(self, resource: str, event: Object) -> list[Object]:
        if self.cut or resource in self.silent:
            return []
        edit = self.edits.get(resource)
        return edit(event) if edit else [event]

    async def cut_off(self) -> None:
        """Nothing gets through any more, not on open connections either."""
        self.cut = True
        for _, stream in list(self._streams):
            with contextlib.suppress(AttributeError):
                stream._req.transport.abort()  # type: ignore[union-attr]

    def reconnect(self) -> None:
        """Everything passes again."""
        self.cut = False


def _name(event: Object) -> str:
    return str(event["object"].get("metadata", {}).get("name", ""))


def _abort(request: web.Request) -> web.Response:
    """Breaks the connection: the answer goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
