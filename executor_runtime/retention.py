"""How long workspaces stay: so that artifacts can be fetched, and sessions can go on.

One sweep a second removes what is due. Removing is blocking work on a thread; it spawns nothing,
so the sandboxes' die-with-parent is not touched.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

import structlog

from executor_runtime.clock import Clock
from executor_runtime.sandbox.errors import WorkspaceError
from executor_runtime.workspace import Workspace, Workspaces

SWEEP_INTERVAL_S: Final = 1.0
MAX_RETAINED: Final = 256
"""Workspaces that are kept for their artifacts; the oldest give way, so that disk use is bounded."""

log = structlog.get_logger()


@dataclass
class _Session:
    workspace: Workspace
    users: int
    idle_since: float


class Retention:
    """Owns every workspace from the moment that it is made."""

    def __init__(self, workspaces: Workspaces, clock: Clock, retention_s: float, session_retention_s: float) -> None:
        self._workspaces = workspaces
        self._clock = clock
        self._retention_s = retention_s
        self._session_retention_s = session_retention_s
        self._kept: deque[tuple[float, Workspace]] = deque()
        self._sessions: dict[str, _Session] = {}
        # Nobody may enter a session while its directory is being removed.
        self._sessions_lock = asyncio.Lock()
        self._removals: set[asyncio.Task[None]] = set()

    async def enter(self, execution_id: str, session_id: str | None) -> Workspace:
        """A workspace for one execution: new, or the session's.

        Raises:
            WorkspaceError: it cannot be made.
        """
        if session_id is None:
            return self._workspaces.create(execution_id)
        async with self._sessions_lock:
            session = self._sessions.get(session_id)
            if session is None:
                session = _Session(self._workspaces.open_session(session_id), 0, 0.0)
                self._sessions[session_id] = session
            session.users += 1
            return session.workspace

    def leave(self, workspace: Workspace, session_id: str | None, has_artifacts: bool) -> None:
        """The execution has ended and nothing of it runs any more."""
        if session_id is not None:
            session = self._sessions[session_id]
            session.users -= 1
            session.idle_since = self._clock.monotonic()
        elif has_artifacts and self._retention_s > 0:
            self._kept.append((self._clock.monotonic() + self._retention_s, workspace))
        else:
            self._start_removal(workspace)

    async def sweep_forever(self) -> None:
        """Removes what is due, until cancelled."""
        while True:
            await self._clock.sleep(SWEEP_INTERVAL_S)
            await self.sweep()

    async def sweep(self) -> None:
        """Removes the workspaces and sessions that are due now."""
        now = self._clock.monotonic()
        while self._kept and (self._kept[0][0] <= now or len(self._kept) > MAX_RETAINED):
            await self._remove(self._kept.popleft()[1])
        async with self._sessions_lock:
            for session_id, session in list(self._sessions.items()):
                if session.users == 0 and now - session.idle_since >= self._session_retention_s:
                    del self._sessions[session_id]
                    await self._remove(session.workspace)

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
