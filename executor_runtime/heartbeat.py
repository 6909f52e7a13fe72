"""Tells the Control Plane that an execution still runs (the seed's US4).

One task an execution. The beat is kept by deadlines, not by pauses between answers, and a call
that hangs is given up when the next one is due: a Control Plane that does not answer neither
delays the next beat nor piles up calls (T059). The operator's controller, which shows the end of the output
while it grows, is told of new output half-way between two beats too: first after two and a half seconds.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import JsonValue

from contracts.control_plane_api import Heartbeat, heartbeat_path
from contracts.control_plane_retry import Outcome
from executor_runtime.clock import Clock
from executor_runtime.control_plane import Answer, Call, ControlPlane

INTERVAL_S: Final = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Said:
    """What a heartbeat says besides that the execution runs."""

    progress: dict[str, JsonValue] | None = None
    stdout_tail: str | None = None
    stderr_tail: str | None = None

    @property
    def tails(self) -> tuple[str | None, str | None]:
        """The end of each stream."""
        return self.stdout_tail, self.stderr_tail


def say_nothing() -> Said:
    """Of an execution that reports nothing."""
    return Said()


class Heart:
    """Beats for one execution."""

    def __init__(
        self,
        control_plane: ControlPlane,
        execution_id: str,
        token: str | None,
        clock: Clock,
        look: Callable[[], Said] = say_nothing,
        *,
        tells_tails: bool = False,
    ) -> None:
        """``look`` is asked at each beat; it must not block. ``tells_tails``: between two beats there is another one
        where the output has changed, for who shows its end."""
        self._control_plane = control_plane
        self._execution_id = execution_id
        self._token = token
        self._clock = clock
        self._look = look
        self._tells_tails = tells_tails
        self._told: tuple[str | None, str | None] = (None, None)
        self._call: asyncio.Task[Answer] | None = None

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beats while the block runs. Afterwards no call is under way, so none can follow the result (T060)."""
        loop = asyncio.create_task(self._beat_forever(), name=f"heartbeat {self._execution_id}")
        try:
            yield
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
            await self._give_up_call()

    async def _beat_forever(self) -> None:
        due = self._clock.monotonic()
        while True:
            # The first one after a whole interval: a short execution costs no call. After a stall, no burst.
            now = self._clock.monotonic()
            due = due + INTERVAL_S if due + INTERVAL_S > now else now + INTERVAL_S
            if self._tells_tails:
                await self._clock.sleep((due - now) / 2)
                self._beat_between()
                now = self._clock.monotonic()
            await self._clock.sleep(due - now)
            if await self._give_up_call():
                log.error("heartbeat_unanswered", execution_id=self._execution_id)
            self._start_call(self._look(), between=False)

    def _beat_between(self) -> None:
        said = self._look()
        if said.tails != self._told and (self._call is None or self._call.done()):
            self._start_call(said, between=True)

    def _start_call(self, said: Said, *, between: bool) -> None:
        self._told = said.tails
        self._call = asyncio.create_task(self._send(said, between))
        self._call.add_done_callback(self._log_failure)

    async def _send(self, said: Said, between: bool) -> Answer:
        stdout, stderr = said.tails if self._tells_tails else (None, None)
        beat = Heartbeat(
            timestamp=self._clock.now(),
            progress=said.progress,
            stdout_tail=stdout,
            stderr_tail=stderr,
            between=between,
        )
        body = beat.model_dump_json(exclude_defaults=True).encode()
        return await self._control_plane.post(Call(heartbeat_path(self._execution_id), body, self._token))

    async def _give_up_call(self) -> bool:
        """Ends the call that is under way; whether there was one."""
        call = self._call
        if call is None or call.done():
            return False
        call.cancel()
        await asyncio.wait([call])
        return True

    def _log_failure(self, call: asyncio.Task[Answer]) -> None:
        """T066: a failed heartbeat is logged and changes nothing else."""
        if call.cancelled():
            return
        error = call.exception()
        if error is not None:
            log.error("heartbeat_failed", execution_id=self._execution_id, error=type(error).__name__)
        elif call.result().outcome is not Outcome.ACCEPTED:
            log.error("heartbeat_failed", execution_id=self._execution_id, answer=call.result().detail)
