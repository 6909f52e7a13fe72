"""Executions of every kind, created steadily through the API, as a Control Plane does."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from sandbox_executor_client import AsyncClient, ClientError, Execution, ExecutionSpec, NotFound, new_execution_id
from tests.chaos.evidence import Final

_Given = TypeVar("_Given")
_Got = TypeVar("_Got")

_RETURNS = "def handler(event):\n    print('hello')\n    return event\n"
_RAISES = "def handler(event):\n    raise ValueError('no')\n"
_SLEEPS = "import time\ndef handler(event):\n    time.sleep(event)\n    return event\n"
_LARGE = "def handler(event):\n    print('x' * 200_000)\n    return event\n"
_GRACE_S = 150.0
"""What the longest outage of this test, the waiting behind it and a busy machine may add."""
_WEIGHTS = {"returns": 8, "raises": 2, "sleeps": 4, "times out": 1, "cancelled": 2, "deleted": 1, "ttl": 2, "large": 1}


@dataclass
class Created:
    """One Execution, and the last that was seen of it."""

    kind: str
    execution_id: str
    timeout_s: int
    at: float
    uid: str = ""
    last: Execution | None = None
    present: bool = True
    finished_at: float | None = None


class Load:
    """Creates until told to stop; remembers everything."""

    def __init__(self, client: AsyncClient, seed: int, per_second: float) -> None:
        self.created: dict[str, Created] = {}
        """By uid."""
        self._client = client
        self._random = random.Random(seed)
        self._pause_s = 1 / per_second
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._spawn(self._create(self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]))
            await asyncio.sleep(self._pause_s)

    async def follow(self) -> None:
        """Keeps what is known of each up to date, until cancelled."""
        while True:
            with contextlib.suppress(ClientError):
                async for change in self._client.watch():
                    self._see(change.execution, present=change.kind == "PRESENT")
            await asyncio.sleep(0.5)

    async def settle(self) -> None:
        """Waits until every creation that was begun has come through."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def unfinished(self) -> list[Created]:
        """Those that have to end and have not, or have not been reported."""
        return [
            one
            for one in self.created.values()
            if one.present and (one.last is None or not one.last.finished or not is_reported(one.last))
        ]

    def finals(self) -> list[Final]:
        """For the checker."""
        return [
            Final(
                uid=uid,
                execution_id=one.execution_id,
                phase=one.last.phase if one.last else "",
                attempt=one.last.attempt if one.last else 0,
                max_retries=0,
                reported=one.last is not None and is_reported(one.last),
                created_at=one.at,
                finished_at=one.finished_at,
                bound_s=one.timeout_s + _GRACE_S,
                present=one.present,
                deleted_by_user=one.kind == "deleted",
            )
            for uid, one in self.created.items()
        ]

    def _spawn(self, step: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _create(self, kind: str) -> None:
        fields: dict[str, object] = {"code": _RETURNS, "language": "python", "event": 1, "timeout_seconds": 30}
        if kind == "raises":
            fields["code"] = _RAISES
        elif kind == "large":
            fields["code"] = _LARGE
        elif kind in ("sleeps", "cancelled", "deleted", "times out"):
            fields |= {"code": _SLEEPS, "event": 20 if kind != "sleeps" else self._random.choice([1, 3, 8])}
        if kind == "times out":
            fields["timeout_seconds"] = 2
        if kind == "ttl":
            fields["ttl_seconds_after_finished"] = 3
        spec = ExecutionSpec(**fields, execution_id=new_execution_id())  # type: ignore[arg-type]
        begun = time.time()
        made = await self._insist(self._client.create, spec)
        if made is None:
            return
        one = self.created.setdefault(made.uid, Created(kind, made.execution_id, 30, begun, made.uid, made))
        one.kind, one.timeout_s, one.at = kind, spec.timeout_seconds, begun  # the watch may have been first
        if kind in ("cancelled", "deleted"):
            await asyncio.sleep(self._random.uniform(0.2, 4))
            if kind == "cancelled":
                await self._insist(self._client.cancel, made.name)
            else:
                await self._insist(self._client.delete, made.name)

    async def _insist(self, call: Callable[[_Given], Awaitable[_Got]], given: _Given) -> _Got | None:
        """A Control Plane does not give up while the API server is away; None: it is gone."""
        while True:
            try:
                return await call(given)
            except NotFound:
                return None
            except ClientError:
                await asyncio.sleep(0.3)

    def _see(self, execution: Execution, *, present: bool) -> None:
        one = self.created.get(execution.uid)
        if one is None:
            one = Created("", execution.execution_id, 30, time.time(), execution.uid)
            self.created[execution.uid] = one
        one.present = present
        if present:
            one.last = execution
            if execution.finished and one.finished_at is None:
                one.finished_at = time.time()


def is_reported(execution: Execution) -> bool:
    """Whether its condition Reported is true."""
    conditions = (execution.raw.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Reported" and condition["status"] == "True" for condition in conditions)
