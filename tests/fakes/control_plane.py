"""A recording Control Plane: real HTTP on loopback, answers as programmed (the seed's T011).

It keeps to ``contracts.control_plane_api``: a wrong body gets 422, a wrong token 401, a repeated
result 200, a different second result 409. ``program`` queues other answers for one kind of call,
``always`` gives one till further notice::

    async with FakeControlPlane(tokens={"t"}) as control_plane:
        control_plane.program("result", 503, HANG)
        ...
        calls = await control_plane.wait_for("result", 3)
"""

import asyncio
import json
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web
from pydantic import BaseModel, ValidationError

from contracts.control_plane_api import ContainerExited, ContainerReady, Heartbeat, ResultReport

Kind = Literal["ready", "exited", "heartbeat", "result", "unknown"]


class Odd(Enum):
    """Answers that are no status."""

    HANG = "hang"
    DISCONNECT = "disconnect"


HANG = Odd.HANG
DISCONNECT = Odd.DISCONNECT
Answer = int | Odd

_MODELS: Mapping[Kind, type[BaseModel]] = {
    "ready": ContainerReady,
    "exited": ContainerExited,
    "heartbeat": Heartbeat,
    "result": ResultReport,
}


@dataclass(frozen=True)
class Call:
    """One call as it arrived."""

    kind: Kind
    path: str
    execution_id: str
    headers: Mapping[str, str]
    body: Any
    at: float
    """Monotonic seconds."""
    answered: Answer

    @property
    def token(self) -> str:
        """The bearer token that it showed."""
        return self.headers.get("Authorization", "").removeprefix("Bearer ")


class FakeControlPlane:
    """One server; ``url`` is its ``CONTROL_PLANE_URL``."""

    def __init__(
        self, tokens: set[str] | None = None, prefix: str = "", port: int = 0, host: str = "127.0.0.1"
    ) -> None:
        """``tokens`` None: any is good, also none. ``port`` 0: a free one; another: to come back where one was."""
        self.tokens = tokens
        self.calls: list[Call] = []
        self.port = port
        self._host = host
        self._prefix = prefix
        self._programs: dict[Kind, deque[Answer]] = defaultdict(deque)
        self._constant: dict[Kind, Answer] = {}
        self._results: dict[str, Any] = {}
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """With the path prefix, if there is one."""
        return f"http://{self._host}:{self.port}{self._prefix}"

    def program(self, kind: Kind, *answers: Answer) -> None:
        """The next calls of this kind get these, one each."""
        self._programs[kind].extend(answers)

    def always(self, kind: Kind, answer: Answer | None) -> None:
        """All calls of this kind get this; None: as the contract says, again."""
        if answer is None:
            self._constant.pop(kind, None)
        else:
            self._constant[kind] = answer

    def of(self, kind: Kind, execution_id: str | None = None) -> list[Call]:
        """The calls of a kind so far, of one execution or of all."""
        return [call for call in self.calls if call.kind == kind and execution_id in (None, call.execution_id)]

    async def wait_for(
        self, kind: Kind, count: int = 1, execution_id: str | None = None, timeout_s: float = 60.0
    ) -> list[Call]:
        """The calls, once there are ``count`` of them. Raises TimeoutError with what did arrive."""
        try:
            async with asyncio.timeout(timeout_s), self._arrived:
                await self._arrived.wait_for(lambda: len(self.of(kind, execution_id)) >= count)
        except TimeoutError:
            arrived = [(call.kind, call.execution_id, call.answered) for call in self.calls]
            raise TimeoutError(f"{count} × {kind} did not arrive in {timeout_s} s; there were {arrived}") from None
        return self.of(kind, execution_id)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=256 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        at = time.monotonic()
        raw = await request.read()
        kind, execution_id = self._recognise(request)
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        answer = self._choose(kind, execution_id, request, body)
        async with self._arrived:
            self.calls.append(Call(kind, request.path, execution_id, dict(request.headers), body, at, answer))
            self._arrived.notify_all()
        if answer is HANG:
            await asyncio.Event().wait()
        if answer is DISCONNECT or not isinstance(answer, int):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return web.json_response({"status": answer}, status=answer, headers=_location(answer))

    def _recognise(self, request: web.Request) -> tuple[Kind, str]:
        parts = request.path.removeprefix(self._prefix).strip("/").split("/")
        if request.method != "POST" or not request.path.startswith(self._prefix):
            return "unknown", ""
        match parts:
            case ["internal", "containers", "ready"]:
                return "ready", ""
            case ["internal", "containers", "exited"]:
                return "exited", ""
            case ["internal", "executions", execution_id, "heartbeat"]:
                return "heartbeat", execution_id
            case ["internal", "executions", execution_id, "result"]:
                return "result", execution_id
        return "unknown", ""

    def _choose(self, kind: Kind, execution_id: str, request: web.Request, body: Any) -> Answer:
        if self._programs[kind]:
            return self._programs[kind].popleft()
        if kind in self._constant:
            return self._constant[kind]
        if kind == "unknown":
            return 404
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens is not None and token not in self.tokens:
            return 401
        try:
            _MODELS[kind].model_validate(body)
        except ValidationError:
            return 422
        return self._take_result(execution_id, body) if kind == "result" else 200

    def _take_result(self, execution_id: str, body: Any) -> int:
        if execution_id not in self._results:
            self._results[execution_id] = body
            return 201
        return 200 if self._results[execution_id] == body else 409


def _location(status: int) -> dict[str, str]:
    return {"Location": "http://127.0.0.1:1/elsewhere"} if 300 <= status < 400 else {}
