"""Tells the Control Plane that this executor is there, and that it goes (the seed's US5)."""

from dataclasses import dataclass
from typing import Final

import structlog

from contracts.control_plane_api import (
    CONTAINER_EXITED_PATH,
    CONTAINER_READY_PATH,
    ContainerExited,
    ContainerReady,
    ExitReason,
)
from contracts.control_plane_retry import MAX_BACKOFF_S
from executor_runtime.clock import Clock
from executor_runtime.control_plane import Call, ControlPlane, retry

SIGTERM_EXIT_CODE: Final = 143
SIGINT_EXIT_CODE: Final = 130
ERROR_EXIT_CODE: Final = 1

log = structlog.get_logger()


@dataclass(frozen=True)
class Identity:
    """Which container this is. ``started`` (Unix seconds) tells its runs apart after a restart."""

    container_id: str
    pod_name: str
    port: int
    started: float


class Lifecycle:
    """Sends the two events of one container run."""

    def __init__(self, control_plane: ControlPlane, identity: Identity, clock: Clock) -> None:
        self._control_plane = control_plane
        self._identity = identity
        self._clock = clock

    async def announce_ready(self) -> None:
        """Until it is accepted or refused for good: an executor that nobody knows of is of no use (T076)."""
        event = ContainerReady(
            container_id=self._identity.container_id,
            pod_name=self._identity.pod_name,
            executor_port=self._identity.port,
            ready_at=self._clock.now(),
        )
        call = Call(CONTAINER_READY_PATH, event.model_dump_json().encode(), idempotency_key=self._key("ready"))
        answer = await retry(lambda: self._control_plane.post(call), self._clock, "container_ready")
        while not answer.outcome.final:
            await self._clock.sleep(MAX_BACKOFF_S)
            answer = await self._control_plane.post(call)
        log.info("container_ready_sent", answer=answer.detail, outcome=answer.outcome)

    async def announce_exited(self, exit_code: int, reason: ExitReason) -> None:
        """One attempt: whoever calls this has two seconds to live (T068)."""
        event = ContainerExited(
            container_id=self._identity.container_id,
            pod_name=self._identity.pod_name,
            exit_code=exit_code,
            exit_reason=reason,
            exited_at=self._clock.now(),
        )
        answer = await self._control_plane.post(
            Call(CONTAINER_EXITED_PATH, event.model_dump_json().encode(), idempotency_key=self._key("exited"))
        )
        log.info("container_exited_sent", answer=answer.detail, outcome=answer.outcome, exit_code=exit_code)

    def _key(self, event: str) -> str:
        return f"{self._identity.container_id}-{self._identity.started:.6f}-{event}"
