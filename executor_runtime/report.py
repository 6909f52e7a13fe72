"""Results on their way to the Control Plane (the seed's US2): at least once, whatever crashes.

A report is spooled *before* its first attempt. So from the moment that a result exists as a file
until the Control Plane has taken it, there is no line between two of which a crash of this process loses it, and a
SIGTERM needs to save nothing that was under way. What the Control Plane has not taken within 100 ms is
synced, and outlives its machine, too. See ``docs/decisions/0003-executor-service.md``.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

import structlog
from pydantic_core import to_json

from contracts.control_plane_api import ResultReport, result_path
from contracts.control_plane_retry import Outcome
from contracts.executor_api import ExecutionMetrics, ExecutionResult
from executor_runtime.clock import Clock
from executor_runtime.control_plane import Answer, Call, ControlPlane, retry
from executor_runtime.secret import Redactor
from executor_runtime.spool import Spool, SpooledReport, SpoolFile

REPLAY_INTERVAL_S: Final = 30.0
SYNC_AFTER_S: Final = 0.1
"""A report that is taken sooner costs the disk nothing; the wait of each Execution's end for two syncs was 5 ms."""
_SMALL_BYTES: Final = 65_536
"""A report that is not larger goes into the kernel's memory in less time than a thread takes to be woken for it."""
_MAX_BODIES_IN_FLIGHT: Final = 8
"""Reports that hold their body in memory at a time; the others wait with theirs on disk."""

log = structlog.get_logger()


def build_crash_report(execution_id: str, started: bool, partial: ExecutionResult | None) -> ResultReport:
    """An execution that the executor's own end cut short (T069); ``partial`` has what it wrote till then."""
    happened = "ended; it may have run in part" if started else "started; nothing of it ran"
    crashed = ResultReport(
        execution_id=execution_id,
        status="crashed",
        reason="PodTerminated",
        message=f"The executor was terminated before the execution {happened}.",
        exit_code=-1,
        execution_time=0.0,
        metrics=ExecutionMetrics(duration_ms=0.0),
    )
    if partial is None:
        return crashed
    kept = {"stdout", "stderr", "stdout_truncated", "stderr_truncated", "execution_time", "metrics"}
    return crashed.model_copy(update={name: getattr(partial, name) for name in kept})


def idempotency_key(execution_id: str, body: bytes) -> str:
    """The same for each attempt at one report and for its replays; another for any other report (T042)."""
    return f"{execution_id}-{hashlib.sha256(body).hexdigest()[:32]}"


class _Sending:
    """One report on its way: in memory for its first attempt, then on disk only."""

    def __init__(self, entry: SpooledReport, file: SpoolFile | None) -> None:
        self.execution_id = entry.execution_id
        self.entry: SpooledReport | None = entry
        self.file = file


class Reporter:
    """Sends reports in the background and keeps at it."""

    def __init__(
        self,
        control_plane: ControlPlane,
        spool: Spool,
        redactor: Redactor,
        clock: Clock,
        count: Callable[[str, int], None],
    ) -> None:
        """``count`` is told outcomes and how many there were, for the metrics."""
        self._control_plane = control_plane
        self._spool = spool
        self._redactor = redactor
        self._clock = clock
        self._count = count
        self._under_way: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bodies = asyncio.Semaphore(_MAX_BODIES_IN_FLIGHT)

    @property
    def backlog_bytes(self) -> int:
        """Size of the reports on disk that the Control Plane has not taken."""
        return self._spool.waiting_bytes

    @property
    def unsent(self) -> int:
        """Reports that the Control Plane has not taken: on disk, or about to be saved."""
        return max(self._spool.waiting_count, len(self._tasks))

    @property
    def backlog_full(self) -> bool:
        """Whether nothing new should be run, because its result might find no space."""
        return self._spool.full

    def start(self, report: ResultReport, token: str | None) -> asyncio.Task[None]:
        """Begins to send a report; never in the way of the answer to the client (T040)."""
        task = asyncio.create_task(self.send(report, token), name=f"report {report.execution_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def send(self, report: ResultReport, token: str | None) -> None:
        """Saves the report, then tries up to five times; what is left after that is for ``replay``."""
        execution_id = report.execution_id
        self._under_way.add(execution_id)
        try:
            entry = self._entry(report, token)
            del report  # while it waits for its next attempt, its streams are on disk only
            sending = _Sending(entry, await self._save(entry))
            del entry
            syncing = asyncio.create_task(self._sync_later(sending.file), name=f"sync {execution_id}")
            try:
                answer = await retry(lambda: self._attempt(sending), self._clock, f"result of {execution_id}")
            finally:
                syncing.cancel()
            await self._settle(execution_id, sending.file, answer)
        finally:
            self._under_way.discard(execution_id)

    async def replay_forever(self) -> None:
        """Sends what an earlier executor or an outage left, at once and then every 30 s."""
        while True:
            try:
                await self.replay()
            except OSError as error:
                log.error("spool_unreadable", error=error.strerror)
            await self._clock.sleep(REPLAY_INTERVAL_S)

    async def replay(self) -> None:
        """One attempt for each report that waits; the first that reaches nobody ends the round."""
        lost = await asyncio.to_thread(self._spool.expire, self._clock.now())
        if lost:
            log.error("reports_expired", count=lost)
            self._count("expired", lost)
        for execution_id in await asyncio.to_thread(self._spool.waiting):
            if execution_id in self._under_way:
                continue
            if await self._replay_one(execution_id) is Outcome.UNREACHABLE:
                return

    async def close(self, timeout_s: float) -> None:
        """Gives reports under way this long, then stops; what is unsent by then is in the spool."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _replay_one(self, execution_id: str) -> Outcome | None:
        self._under_way.add(execution_id)
        try:
            found = await asyncio.to_thread(self._spool.load, execution_id)
            if found is None:
                return None
            entry, file = found
            answer = await self._post(entry)
            await self._settle(execution_id, file, answer)
            return answer.outcome
        finally:
            self._under_way.discard(execution_id)

    async def _attempt(self, sending: _Sending) -> Answer:
        async with self._bodies:
            entry = sending.entry or await self._load(sending.execution_id)
            if sending.file is not None:
                sending.entry = None
            if entry is None:
                return Answer(Outcome.DROPPED, "no longer in the spool")
            return await self._post(entry)

    async def _load(self, execution_id: str) -> SpooledReport | None:
        found = await asyncio.to_thread(self._spool.load, execution_id)
        return found[0] if found else None

    async def _save(self, entry: SpooledReport) -> SpoolFile | None:
        try:
            if len(entry.body) <= _SMALL_BYTES:
                return self._spool.save(entry)
            return await asyncio.to_thread(self._spool.save, entry)
        except OSError as error:
            # It is still sent, from memory; only a crash before it is accepted could lose it.
            log.error("spool_failed", execution_id=entry.execution_id, error=error.strerror)
            return None

    async def _sync_later(self, file: SpoolFile | None) -> None:
        if file is None:
            return
        await self._clock.sleep(SYNC_AFTER_S)
        try:
            await asyncio.to_thread(self._spool.sync, file)
        except OSError as error:
            log.error("spool_sync_failed", file=file.path.name, error=error.strerror)

    async def _post(self, entry: SpooledReport) -> Answer:
        token = entry.report_token
        sent_by = (entry.request_id, entry.traceparent)
        call = Call(result_path(entry.execution_id), entry.body, token, entry.idempotency_key, *sent_by)
        if token is None:
            return await self._control_plane.post(call)
        self._redactor.hide(token)
        try:
            return await self._control_plane.post(call)
        finally:
            self._redactor.forget(token)

    async def _settle(self, execution_id: str, file: SpoolFile | None, answer: Answer) -> None:
        """What the last answer means for the spooled file."""
        self._count(answer.outcome, 1)
        details = {"execution_id": execution_id, "answer": answer.detail}
        if answer.outcome is Outcome.ACCEPTED:
            log.info("result_reported", **details)
        elif answer.outcome is Outcome.DROPPED:
            log.warning("result_not_wanted", **details)
        elif answer.outcome is Outcome.REFUSED:
            log.error("result_refused", **details)
        else:
            log.error("result_kept_for_later", saved=file is not None, **details)
            return
        if file is not None:
            if answer.outcome is Outcome.REFUSED:
                await asyncio.to_thread(self._spool.set_aside, file)
            elif file.size <= _SMALL_BYTES:
                self._spool.remove(file)
            else:
                await asyncio.to_thread(self._spool.remove, file)

    def _entry(self, report: ResultReport, token: str | None) -> SpooledReport:
        body = to_json(report)
        return SpooledReport(
            execution_id=report.execution_id,
            idempotency_key=idempotency_key(report.execution_id, body),
            saved_at=self._clock.now().timestamp(),
            report_token=token,
            request_id=structlog.contextvars.get_contextvars().get("request_id"),
            traceparent=structlog.contextvars.get_contextvars().get("traceparent"),
            body=body,
        )
