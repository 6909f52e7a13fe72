"""What executors report, turned into facts; and the answers that tell a repeat from a contradiction."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from contracts.control_plane_api import ResultReport
from contracts.outputs import UploadAnswer, UploadRequest
from controller.facts import HeartbeatSeen, Tails
from controller.pipeline import Pipeline, mark_of
from controller.relay.relay import Relay
from controller.report_tokens import ReportTokens
from controller.resources import Execution
from controller.status import FINISHED, condition_of, cut_tail, fits_status
from controller.tracking import Ended, Stage, Tracked
from controller.uploads import Uploads

HEARTBEAT_WRITE_S: Final = 5.0
TAIL_WRITE_S: Final = 2.0
"""The same where there is new output to show."""
HEARTBEAT_RELAY_S: Final = 3.0
"""Executors send one every 5 ± 1 s; one that sends more shall not crowd out the others'."""
_NO_TAILS: Final = Tails()
_ATTEMPTS: Final = range(1, 12)
"""spec.maxRetries is 10 at most."""


class Reports:
    """Behind the routes of ``server``."""

    def __init__(
        self,
        pipeline: Pipeline,
        tokens: ReportTokens,
        now: Callable[[], datetime],
        relay: Relay | None = None,
        uploads: Uploads | None = None,
    ) -> None:
        """``relay`` is None where no Control Plane is configured, ``uploads`` where there is no object store."""
        self._pipeline = pipeline
        self._tokens = tokens
        self._now = now
        self._relay = relay
        self._uploads = uploads

    def find_attempt(self, execution_id: str, token: str) -> int | None:
        """The attempt that a report token stands for; None when it stands for none of this execution's."""
        return self._tokens.find_attempt(execution_id, token, _ATTEMPTS)

    def must_wait(self, execution_id: str) -> bool:
        """Whether a large result that is written already would only be refused for now: nobody need read it."""
        ended = self._pipeline.registry.ended(execution_id)
        return self._relay is not None and ended is not None and self._relay.must_wait(ended.uid)

    async def take(self, execution_id: str, attempt: int, report: ResultReport, size: int = 0) -> int:
        """A result: written first, then answered with 201, 200 (a repeat), 404 or 409 (it has ended otherwise).

        503: it is written as far as there is room for it, and the executor shall hold it until the Control Plane
        has taken it whole. ``size`` is the report's in bytes.

        Raises:
            KubeError: the Execution is not known here, and the server could not be asked.
        """
        status, uid = await self._take(execution_id, attempt, report)
        if status not in (200, 201) or self._relay is None or fits_status(report):
            return status
        return status if await self._relay.take_whole(uid, report, size) else 503

    async def sign(self, execution_id: str, attempt: int, request: UploadRequest) -> UploadAnswer | None:
        """URLs for what an attempt wants to store; None when no such attempt runs, or there is no store.

        Raises:
            UploadRefused, StoreError: as ``Uploads.sign``.
        """
        tracked = self._pipeline.registry.owner(execution_id)
        if self._uploads is None or tracked is None:
            return None
        if tracked.attempt != attempt or tracked.stage is not Stage.RUNNING:
            return None
        return await self._uploads.sign(tracked, request)

    async def _take(self, execution_id: str, attempt: int, report: ResultReport) -> tuple[int, str]:
        tracked = self._pipeline.registry.owner(execution_id)
        if tracked is not None:
            if attempt != tracked.attempt:
                return 409, tracked.uid
            if await self._pipeline.finish(tracked, attempt, report):
                return 201, tracked.uid
        ended = self._pipeline.registry.ended(execution_id) or await self._look_up(execution_id)
        if ended is None:
            return 404, ""
        return (200 if ended.attempt == attempt and ended.report == mark_of(report) else 409), ended.uid

    async def _look_up(self, execution_id: str) -> Ended | None:
        """How it ended before this process started: the answer to its report may have been lost with the last one."""
        for execution in await self._pipeline.identities.find(execution_id):
            if execution.ended and execution.status.execution_id == execution_id and execution.status.phase:
                return Ended(
                    execution.uid, execution.status.attempt or 0, execution.status.phase, _written_mark(execution)
                )
        return None

    def beat(
        self,
        execution_id: str,
        attempt: int,
        progress: dict[str, Any] | None,
        tails: Tails = _NO_TAILS,
        *,
        between: bool = False,
    ) -> bool:
        """A heartbeat; False when no such attempt runs. Written at most once in five seconds, in two with new output.

        ``between``: it is no beat of the rhythm that a Control Plane is to hear.
        """
        tracked = self._pipeline.registry.owner(execution_id)
        if tracked is None or tracked.attempt != attempt or tracked.stage is not Stage.RUNNING:
            return False
        now = self._now()
        tracked.hear(now)
        if self._relay is not None and not between and _is_over(tracked.last_beat_relayed, now):
            tracked.last_beat_relayed = now
            self._relay.beat(execution_id, progress, now)
        last = tracked.last_beat_written or tracked.status.start_time
        pause_s = TAIL_WRITE_S if _has_news(tracked, tails) else HEARTBEAT_WRITE_S
        if last is None or (now - last).total_seconds() >= pause_s:
            tracked.last_beat_written = now
            self._pipeline.record_soon(tracked, HeartbeatSeen(attempt, progress, now, tails))
        return True


def _has_news(tracked: Tracked, tails: Tails) -> bool:
    shown = (tracked.status.stdout_tail, tracked.status.stderr_tail)
    said = (tails.stdout, tails.stderr)
    return any(new is not None and cut_tail(new) != old for new, old in zip(said, shown, strict=True))


def _is_over(last: datetime | None, now: datetime) -> bool:
    return last is None or (now - last).total_seconds() >= HEARTBEAT_RELAY_S


def _written_mark(execution: Execution) -> tuple[str, int | None]:
    condition = condition_of(execution.status, FINISHED)
    reason = "Crashed" if execution.status.phase == "Crashed" else condition.reason if condition else ""
    return (reason, execution.status.exit_code)
