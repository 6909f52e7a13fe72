"""Executions of every kind, created steadily through the API, as a Control Plane does."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sandbox_executor_client import AsyncClient, Execution, ExecutionSpec, NotFound, Unavailable, new_execution_id
from tests.chaos.evidence import Final
from tests.chaos.kinds import KINDS, SESSIONS, Kind

_Given = TypeVar("_Given")
_Got = TypeVar("_Got")
_WEIGHTS = [kind.weight for kind in KINDS]

MAX_RUNNING = 40
GRACE_S = 60.0
"""What the queue behind an outage and a busy machine may add."""


@dataclass
class Created:
    """One Execution, and the last that was seen of it. ``kind`` None: the watch was first."""

    execution_id: str
    at: float
    kind: Kind | None = None
    last: Execution | None = None
    present: bool = True
    is_deleted: bool = False
    """By its creator, as the API server has confirmed."""
    finished_at: float | None = None


class Load:
    """Creates until told to stop; remembers everything."""

    def __init__(
        self, client: AsyncClient, seed: int, per_second: float, without: frozenset[str] = frozenset()
    ) -> None:
        """``without``: kinds that cannot run here."""
        self.created: dict[str, Created] = {}
        """By uid."""
        self._client = client
        self._random = random.Random(seed)
        self._pause_s = 1 / per_second
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0

    async def run(self) -> None:
        """Until cancelled; waits while so many run or wait that a slow machine would be long in working them off."""
        while True:
            if self._running() < MAX_RUNNING:
                kind = self._random.choices(KINDS, _WEIGHTS)[0]
                self._spawn(self._create(kind))
            await asyncio.sleep(self._pause_s)

    async def follow(self) -> None:
        """Keeps what is known of each up to date, until cancelled."""
        while True:
            with contextlib.suppress(Unavailable):
                async for change in self._client.watch():
                    self._see(change.execution, present=change.kind == "PRESENT")
            await asyncio.sleep(0.5)

    async def settle(self) -> None:
        """Waits until every creation that was begun has come through; raises when one broke."""
        await asyncio.gather(*self._tasks)

    def unfinished(self) -> list[Created]:
        """Those that have to end and have not, or have not been reported."""
        return [
            one
            for one in list(self.created.values())
            if one.present and (one.last is None or not one.last.finished or not is_reported(one.last))
        ]

    def _running(self) -> int:
        ended = sum(not one.present or (one.last is not None and one.last.finished) for one in self.created.values())
        return len(self.created) - ended + len(self._tasks)

    def finals(self) -> list[Final]:
        """For the checker."""
        return [_final(uid, one) for uid, one in self.created.items()]

    def _spawn(self, step: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _create(self, kind: Kind) -> None:
        spec = self._make_spec(kind)
        begun = time.time()
        made = await self._insist(self._client.create, spec)
        if made is None:
            return
        one = self.created.setdefault(made.uid, Created(made.execution_id, begun, last=made))
        one.kind, one.at = kind, begun  # the watch may have been first
        if kind.stop:
            await asyncio.sleep(self._random.uniform(0.2, 4))
            await self._insist(self._client.cancel if kind.stop == "cancel" else self._client.delete, made.name)
            if kind.stop == "delete":  # a watch that is made anew does not tell what went meanwhile
                one.is_deleted, one.present = True, False

    def _make_spec(self, kind: Kind) -> ExecutionSpec:
        self._number += 1
        fields: dict[str, Any] = {"language": "python", "timeout_seconds": 30, "event": {}, **kind.fields}
        fields["event"] = {**fields["event"], "number": self._number}
        if kind.name == "has a turn":
            fields["session_id"] = f"session-{self._random.randrange(SESSIONS)}"
        return ExecutionSpec(**fields, execution_id=new_execution_id())

    async def _insist(self, call: Callable[[_Given], Awaitable[_Got]], given: _Given) -> _Got | None:
        """A Control Plane does not give up while the API server is away; None: it is gone."""
        while True:
            try:
                return await call(given)
            except NotFound:
                return None
            except Unavailable:
                await asyncio.sleep(0.3)

    def _see(self, execution: Execution, *, present: bool) -> None:
        one = self.created.setdefault(execution.uid, Created(execution.execution_id, time.time()))
        one.present = present and not one.is_deleted
        if present:
            one.last = execution
            if execution.finished and one.finished_at is None:
                one.finished_at = _finish_time(execution)


def _finish_time(execution: Execution) -> float:
    """By the controller's stamp: the watch may learn of it late. One that never ran has none."""
    stamp = (execution.raw.get("status") or {}).get("completionTime")
    return datetime.fromisoformat(stamp).timestamp() if stamp else time.time()


def _final(uid: str, one: Created) -> Final:
    spec = one.last.spec if one.last else {}
    kind, last = one.kind, one.last
    retries = int(spec.get("maxRetries") or 0)
    return Final(
        uid=uid,
        execution_id=one.execution_id,
        phase=last.phase if last else "",
        attempt=last.attempt if last else 0,
        max_retries=retries,
        reported=last is not None and is_reported(last),
        created_at=one.at,
        finished_at=one.finished_at,
        bound_s=int(spec.get("timeoutSeconds") or 30) * (1 + retries) + GRACE_S,
        present=one.present,
        deleted_by_user=kind is not None and kind.stop == "delete",
        expected=kind.expected if kind else frozenset(),
        untrue=kind.says(last) if kind and last and last.succeeded else "",
        neighbour=kind is not None and kind.neighbour,
        session=str(spec.get("sessionId") or ""),
        turn=last.return_value if last and last.succeeded and spec.get("sessionId") else None,
    )


def is_reported(execution: Execution) -> bool:
    """Whether its condition Reported is true."""
    conditions = (execution.raw.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Reported" and condition["status"] == "True" for condition in conditions)
