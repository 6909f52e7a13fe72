"""Whether process 1 is forked or started by bwrap: forked wherever a sandbox that is made so passes the same check.

Nothing depends on it but time: where a fork server does not come up, or what it makes is not as strong as the isolation
level says, bwrap starts every process 1.
"""

import asyncio
import logging
from typing import Final

from executor_runtime.sandbox.forking import ForkServer
from executor_runtime.sandbox.model import Isolation
from executor_runtime.sandbox.probe import check_forked

_LOOK_S: Final = 1.0
_PAUSES_S: Final = (1.0, 5.0, 30.0, 300.0)
"""Before another try, after so many in a row that failed."""
_MAX_RETIRED: Final = 20
"""Servers that have disappointed: after so many there is no other one."""

log = logging.getLogger(__name__)


class Forks:
    """Owns the fork server."""

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation
        self._server: ForkServer | None = None
        self._retired: list[ForkServer] = []
        self.shortfall = "not tried yet"
        """Why there is none, in one line."""

    @property
    def server(self) -> ForkServer | None:
        """To be asked for a process 1; None: there is none now."""
        return self._server if self._server is not None and self._server.is_alive else None

    async def start(self) -> bool:
        """Starts one and has it checked; whether it is good."""
        if self._server is not None:
            self._server.close()  # it has ended
            self._server = None
        try:
            server = ForkServer(self._isolation)
        except OSError as error:
            return self._fail(f"it cannot be started: {error.strerror}")
        try:
            if not await server.wait_until_ready():
                failure = server.complaint() or "it does not come up"
            else:
                failure = await check_forked(self._isolation, server)
        except BaseException:
            server.close()
            raise
        if failure:
            server.close()
            return self._fail(failure)
        self._server, self.shortfall = server, ""
        return True

    async def keep(self) -> None:
        """Starts another one when it has ended, until cancelled."""
        failures = 0
        while len(self._retired) < _MAX_RETIRED:
            if self.server is not None:
                failures = 0
                await asyncio.sleep(_LOOK_S)
            else:
                await asyncio.sleep(_PAUSES_S[min(failures + len(self._retired), len(_PAUSES_S) - 1)])
                failures += 1
                await self.start()

    def doubt(self, why: str) -> None:
        """It has not given what it was asked for: it is asked no more. What it has forked goes on, so it stays."""
        log.warning("a process 1 was not forked", extra={"error": why[:200]})
        if self._server is not None:
            self._retired.append(self._server)
            self._server = None

    def close(self) -> None:
        """Ends all servers, and all that they have forked."""
        for server in (self._server, *self._retired):
            if server is not None:
                server.close()
        self._server = None
        self._retired.clear()

    def _fail(self, why: str) -> bool:
        if why != self.shortfall:
            log.warning("no fork server", extra={"error": why[:200]})
        self.shortfall = why
        return False
