"""How long workspaces stay: so that artifacts can be fetched, and sessions can go on.

One sweep a second removes what is due. Removing is blocking work on a thread; it spawns nothing,
so the sandboxes' die-with-parent is not touched.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

import structlog

from contracts.bounds import RETAINED_WORKSPACES_BYTES, RETAINED_WORKSPACES_ENTRIES
from executor_runtime.clock import Clock
from executor_runtime.sandbox.disk import DiskUsage
from executor_runtime.sandbox.errors import WorkspaceError
from executor_runtime.workspace import Workspace, Workspaces

SWEEP_INTERVAL_S: Final = 1.0
MAX_RETAINED: Final = 256
"""Workspaces that are kept for their artifacts; the oldest give way, so that disk use is bounded. The bytes of all
that is kept, idle sessions among it, are bounded too (``contracts.bounds``)."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Left:
    """What an execution leaves in its workspace."""

    has_artifacts: bool = False
    usage: DiskUsage = DiskUsage()
    is_over_limit: bool = False
    """More than it may, or more than the disk can bear: nothing of it stays, not even for its session."""


@dataclass(frozen=True)
class _Kept:
    since: float
    workspace: Workspace
    usage: DiskUsage


@dataclass
class _Session:
    workspace: Workspace
    users: int = 0
    idle_since: float = 0.0
    usage: DiskUsage = DiskUsage()
    is_over_limit: bool = False


class _Held:
    """The sum of what is kept: workspaces with artifacts and idle sessions."""

    def __init__(self) -> None:
        self.count = 0
        self._bytes, self._entries = 0, 0

    @property
    def is_too_much(self) -> bool:
        """Whether something has to give way."""
        return self._bytes > RETAINED_WORKSPACES_BYTES or self._entries > RETAINED_WORKSPACES_ENTRIES

    def add(self, usage: DiskUsage) -> None:
        """One more is kept."""
        self.count += 1
        self._bytes += usage.bytes
        self._entries += usage.entries

    def subtract(self, usage: DiskUsage) -> None:
        """One is not kept any more."""
        self.count -= 1
        self._bytes -= usage.bytes
        self._entries -= usage.entries


class Retention:
    """Owns every workspace from the moment that it is made."""

    def __init__(self, workspaces: Workspaces, clock: Clock, retention_s: float, session_retention_s: float) -> None:
        self._workspaces = workspaces
        self._clock = clock
        self._retention_s = retention_s
        self._session_retention_s = session_retention_s
        self._kept: deque[_Kept] = deque()
        self._sessions: dict[str, _Session] = {}
        self._held = _Held()
        self._removals: set[asyncio.Task[None]] = set()

    async def enter(self, execution_id: str, session_id: str | None) -> Workspace:
        """A workspace for one execution: new, or the session's.

        Raises:
            WorkspaceError: it cannot be made.
        """
        if session_id is None:
            return self._workspaces.create(execution_id)
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = _Session(self._workspaces.open_session(session_id))
        elif session.users == 0:
            self._held.subtract(session.usage)
        session.users += 1
        return session.workspace

    def leave(self, workspace: Workspace, session_id: str | None, left: Left) -> None:
        """The execution has ended and nothing of it runs any more."""
        now = self._clock.monotonic()
        if session_id is not None:
            self._leave_session(session_id, left, now)
        elif left.has_artifacts and not left.is_over_limit and self._retention_s > 0:
            self._kept.append(_Kept(now, workspace, left.usage))
            self._held.add(left.usage)
        elif left.usage.entries or left.is_over_limit or not self._workspaces.remove_empty(workspace):
            self._start_removal(workspace)
        self._make_room()

    def _leave_session(self, session_id: str, left: Left, now: float) -> None:
        session = self._sessions.pop(session_id)
        self._sessions[session_id] = session  # behind all others: the first idle one has been so for longest
        session.users -= 1
        session.idle_since, session.usage = now, left.usage
        session.is_over_limit = session.is_over_limit or left.is_over_limit
        if session.users == 0:
            self._held.add(session.usage)
            if session.is_over_limit:
                self._end_session(session_id)

    def _make_room(self) -> None:
        """What ended first gives way; what has just ended stays in any case."""
        while self._held.is_too_much and self._held.count > 1:
            idle = next((name for name, session in self._sessions.items() if session.users == 0), None)
            if idle is None or (self._kept and self._kept[0].since <= self._sessions[idle].idle_since):
                self._start_removal(self._pop_kept())
            else:
                self._end_session(idle)

    def _pop_kept(self) -> Workspace:
        kept = self._kept.popleft()
        self._held.subtract(kept.usage)
        return kept.workspace

    def _end_session(self, session_id: str) -> None:
        """The next execution of the session finds a new workspace, also while this one is being removed."""
        session = self._sessions.pop(session_id)
        self._held.subtract(session.usage)
        try:
            self._start_removal(self._workspaces.set_aside(session.workspace))
        except WorkspaceError as error:
            log.error("workspace_not_removed", error=str(error))

    async def sweep_forever(self) -> None:
        """Removes what is due, until cancelled."""
        while True:
            await self._clock.sleep(SWEEP_INTERVAL_S)
            await self.sweep()

    async def sweep(self) -> None:
        """Removes the workspaces and sessions that are due now."""
        now = self._clock.monotonic()
        while self._kept and (now - self._kept[0].since >= self._retention_s or len(self._kept) > MAX_RETAINED):
            await self._remove(self._pop_kept())
        for session_id, session in list(self._sessions.items()):
            if session.users == 0 and now - session.idle_since >= self._session_retention_s:
                self._end_session(session_id)

    async def finish(self) -> None:
        """Waits for the removals that have begun."""
        await asyncio.gather(*self._removals, return_exceptions=True)

    def _start_removal(self, workspace: Workspace) -> None:
        task = asyncio.create_task(self._remove(workspace), name=f"remove {workspace.path.name}")
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def _remove(self, workspace: Workspace) -> None:
        try:
            await asyncio.to_thread(self._workspaces.remove, workspace)
        except WorkspaceError as error:
            log.error("workspace_not_removed", error=str(error))
