"""One execution from its request to its result: the only place that knows the order of the steps.

validate → record → wait for a slot → workspace, files → run → collect artifacts → capture → answer.
Report and clean-up leave the answer's way: they begin when the result is there and nobody waits
for them. A client that goes away changes nothing; the execution belongs to the executor.
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog
from pydantic_core import PydanticSerializationError, to_json

from contracts import bounds
from contracts.control_plane_api import ResultReport
from contracts.executor_api import ExecutionMetrics, ExecutionRequest, ExecutionResult, Reason, ResultStatus
from contracts.ids import EXECUTION_ID_EXAMPLE, EXECUTION_ID_PATTERN
from executor_runtime import artifacts
from executor_runtime.capture import capture
from executor_runtime.clock import Clock
from executor_runtime.control_plane import ControlPlane
from executor_runtime.errors import (
    BacklogFull,
    Buried,
    Conflict,
    Interrupted,
    NotFound,
    QueueFull,
    Terminating,
    ValidationFailed,
)
from executor_runtime.fencing import Sender
from executor_runtime.files import write_files
from executor_runtime.heartbeat import Heart, Said
from executor_runtime.live_output import Asked, OutputResponse, Readers
from executor_runtime.metrics import Metrics
from executor_runtime.outputs import has_any
from executor_runtime.progress import Progress
from executor_runtime.queue import Queue
from executor_runtime.records import Faded, Record, Records, digest_request
from executor_runtime.report import Reporter, build_crash_report
from executor_runtime.retention import Left, Retention
from executor_runtime.sandbox import Job, Limits, Output, Overflow, RawRun, Sandbox, SandboxError
from executor_runtime.secret import Redactor
from executor_runtime.tail import decode_tail
from executor_runtime.uploads import Ended, Uploader
from executor_runtime.workspace import Workspace

log = structlog.get_logger()

ALONE: Final = Sender()
_EXECUTION_ID: Final = re.compile(EXECUTION_ID_PATTERN)
_SMALL_BYTES: Final = 65_536
"""Output that is made a result of within a millisecond."""
_BROKE: Final = "The executor itself failed; its log says how."
_CANCELLED_WHILE_QUEUED: Final = "Cancelled before it started; nothing of it ran."


@dataclass(frozen=True)
class Upwards:
    """Who is told how executions go."""

    control_plane: ControlPlane
    reporter: Reporter


@dataclass(frozen=True)
class Outputs:
    """Where results that are too large for a status go. ``spool``: a folder that no sandbox sees."""

    uploader: Uploader
    spool: Path

    def make_overflow(self) -> Overflow:
        """For what a stream has beyond what is kept in memory."""
        return Overflow(self.spool, max(self.uploader.limits.object_bytes - bounds.MAX_STREAM_BYTES, 0))


@dataclass(frozen=True)
class Parts:
    """The steps, and what they share. ``upwards`` None: nothing is reported; ``outputs`` None: no object store."""

    sandbox: Sandbox
    queue: Queue
    records: Records
    retention: Retention
    metrics: Metrics
    redactor: Redactor
    clock: Clock
    upwards: Upwards | None
    outputs: Outputs | None = None


class Service:
    """Takes requests and sees each to its end."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers = Readers()
        self.terminating = False
        parts.metrics.watch(parts.queue)
        if parts.upwards is not None:
            parts.metrics.watch_backlog(parts.upwards.reporter)

    @property
    def active(self) -> int:
        """Executions that run now."""
        return self._parts.queue.running

    @property
    def unsent_reports(self) -> int:
        """Results that the Control Plane has not taken; 0 where there is none."""
        return self._parts.upwards.reporter.unsent if self._parts.upwards is not None else 0

    def submit(self, request: ExecutionRequest, sender: Sender = ALONE) -> Record:
        """Starts an execution, or finds the one that this request started before.

        A later attempt than the known one is another run; the known one is ended first, if it has not by itself.

        Without an await between look-up and entry, so that two equal requests at one moment are one run.

        Raises:
            ValidationFailed: this executor has no such language.
            Conflict: the id belongs to a different request or to none (a tombstone), or its result is no longer held.
            QueueFull, BacklogFull, Terminating: not now, not here.
        """
        digest = digest_request(request)
        attempt = sender.attempt or 1
        if self._parts.records.is_buried(request.execution_id, attempt):
            raise Buried(
                "This attempt was given up before the request arrived. It is not run.",
                detail=f"execution_id: {request.execution_id}, attempt: {attempt}",
                solution="Use a new execution_id.",
            )
        known = self._parts.records.find(request.execution_id)
        if known is not None and known.attempt == attempt:
            return _join(known, digest)
        if self.terminating:
            raise Terminating("This executor is terminating.", solution="Send the request to another executor.")
        self._check_language(request)
        self._check_backlog()
        if known is not None:
            self._make_room(known)
        return self._begin(request, digest, sender)

    async def wait(self, record: Record) -> bytes:
        """The result as JSON, once there is one.

        Raises:
            Interrupted: the executor is about to exit and has ended it.
        """
        await record.ended.wait()
        if record.body is None:
            raise Interrupted(
                "The executor was terminated before the execution ended; it may have run in part.",
                detail="PodTerminated",
                solution="Start it again under a new execution_id if it may run twice.",
            )
        return record.body

    def find(self, execution_id: str) -> Record | Faded:
        """What is known of an execution.

        Raises:
            NotFound: nothing is.
        """
        known = self._parts.records.find(execution_id)
        if known is None:
            raise _not_found()
        return known

    def follow(self, execution_id: str, asked: Asked) -> OutputResponse:
        """The answer that sends its output.

        Raises:
            NotFound: nothing is known of it, or its output is no longer held.
            ValidationFailed: an offset is beyond what it has written.
            TooManyReaders: as many follow output here as may.
        """
        known = self.find(execution_id)
        record, reader = self._readers.open(known, asked)
        return OutputResponse(record, reader, self._readers, asked.follow)

    async def cancel(self, execution_id: str, attempt: int | None = None) -> Record | Faded:
        """Ends an execution, its whole process tree included, and waits until it has ended.

        Raises:
            NotFound: nothing is known of it, or of this attempt at it.
        """
        known = self.find(execution_id)
        if attempt not in (None, known.attempt):
            raise _not_found()
        if isinstance(known, Record) and known.state != "ended":
            self._end_early(known)
            await known.ended.wait()
        return known

    def bury(self, execution_id: str, attempt: int | None = None) -> Record | Faded | None:
        """What is known of an attempt (the first one); None when nothing is: then it will not begin any more.

        Raises:
            ValidationFailed: it is no execution id.
        """
        if not _EXECUTION_ID.fullmatch(execution_id):
            raise ValidationFailed(
                "This is no execution id.",
                detail=f"execution_id: must match {EXECUTION_ID_PATTERN}",
                solution=f"Write exec_, the date as eight digits, _, and eight of a-z or 0-9: {EXECUTION_ID_EXAMPLE}.",
            )
        known = self._parts.records.bury(execution_id, attempt or 1)
        if known is None:
            log.info("execution_buried", execution_id=execution_id, attempt=attempt or 1)
        return known

    def recent(self) -> list[Record]:
        """Active and recent executions, oldest first."""
        return list(self._parts.records)

    async def terminate(self, timeout_s: float) -> None:
        """Takes nothing new, ends everything, and has the reports of it begun (T074)."""
        self.terminating = True
        active = self._parts.records.active()
        for record in active:
            record.interrupted = True
            self._end_early(record)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        for record in self._parts.records.active():
            # Its sandbox would not end in time; it dies with this process.
            self._interrupt(record, None)

    def _make_room(self, earlier: Record | Faded) -> None:
        if isinstance(earlier, Record) and earlier.state != "ended":
            self._end_early(earlier)
            raise QueueFull(
                "An earlier attempt at this execution is being ended.",
                detail=f"execution_id: {earlier.execution_id}, attempt: {earlier.attempt}",
                solution="Send the request again after the seconds that Retry-After names.",
            )
        self._parts.records.forget(earlier.execution_id)

    def _begin(self, request: ExecutionRequest, digest: bytes, sender: Sender) -> Record:
        token = request.report_token.get_secret_value() if request.report_token else None
        record = Record(
            execution_id=request.execution_id,
            digest=digest,
            language=request.language,
            report_token=token,
            ticket=self._parts.queue.enter(request.session_id),
            accepted_at=self._parts.clock.monotonic(),
            epoch=sender.epoch,
            attempt=sender.attempt or 1,
            owner=sender.owner,
            output=self._make_output(request, sender),
        )
        self._parts.records.add(record)
        if token is not None:
            self._parts.redactor.hide(token)
        task = asyncio.create_task(self._execute(record, request), name=f"execution {record.execution_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return record

    def _make_output(self, request: ExecutionRequest, sender: Sender) -> Output:
        outputs = self._parts.outputs if sender.epoch is not None else None
        make_overflow = outputs.make_overflow if outputs is not None else None
        return Output(holds=request.output_overflow == "hold", make_overflow=make_overflow)

    async def _execute(self, record: Record, request: ExecutionRequest) -> None:
        structlog.contextvars.bind_contextvars(execution_id=record.execution_id)
        try:
            await record.ticket.admitted.wait()
            result = await self._run(record, request)
        except SandboxError as error:
            result = _build_result(record.execution_id, "error", "SandboxError", str(error))
        except Exception:
            # The edge: whatever breaks in our own code, the client and the Control Plane get an end.
            log.exception("execution_broke")
            result = _build_result(record.execution_id, "error", "SandboxError", _BROKE)
        finally:
            record.output.drop_overflow()
            if request.session_id is not None:  # the session's next one must find what this one leaves
                self._leave(record, request)
            self._parts.queue.leave(record.ticket)
        try:
            await self._finish(record, result)
        except Exception:
            # Whoever waits for this execution must get an end.
            log.exception("execution_not_finished")
            await self._finish(record, _build_result(record.execution_id, "error", "SandboxError", _BROKE))
        finally:
            if request.session_id is None:
                self._leave(record, request)

    async def _run(self, record: Record, request: ExecutionRequest) -> ExecutionResult:
        if record.cancelled.is_set():
            return _build_result(record.execution_id, "failed", "Cancelled", _CANCELLED_WHILE_QUEUED)
        record.state = "running"
        admitted_at = self._parts.clock.monotonic()
        # Before the code runs, though it is in its way: whatever is killed in between, what has begun has a line.
        log.info("execution_started", language=record.language, attempt=record.attempt)
        workspace = record.workspace = await self._enter(request)
        if request.files:
            await asyncio.to_thread(write_files, workspace, request.files)
        job = Job.from_request(request, workspace)
        before = await _look(workspace, shared=request.session_id is not None)
        raw = await self._run_beating(job, record)
        if raw.launch_type is not None and raw.begun_at is not None:
            self._parts.metrics.observe_startup(raw.launch_type, raw.begun_at - admitted_at)
        record.left = Left(usage=raw.workspace, is_over_limit=raw.overrun is not None)
        result = await _conclude(job, raw, before)
        record.left = replace(record.left, has_artifacts=bool(result.artifacts))
        return await self._store(record, result)

    async def _store(self, record: Record, result: ExecutionResult) -> ExecutionResult:
        """What no status has room for goes to the object store; of most executions that is nothing."""
        outputs, upwards = self._parts.outputs, self._parts.upwards
        if outputs is None or upwards is None or record.epoch is None or not has_any(result, record.output):
            return result
        ended = Ended(result, record.output, record.workspace, record.report_token, record.cancelled)
        heart = Heart(upwards.control_plane, record.execution_id, record.report_token, self._parts.clock)
        async with heart.beating():
            return await outputs.uploader.store(ended)

    def _leave(self, record: Record, request: ExecutionRequest) -> None:
        if record.workspace is not None:
            self._parts.sandbox.release(record.workspace)
            self._parts.retention.leave(record.workspace, request.session_id, record.left)

    async def _enter(self, request: ExecutionRequest) -> Workspace:
        """The session's workspace, else that of a sandbox that is up already, else a new one."""
        if request.session_id is None:
            limits = Limits.from_request(request.limits)
            reserved = self._parts.sandbox.reserve(request.execution_id, limits, request.language, request.env_vars)
            if reserved is not None:
                return reserved
        return await self._parts.retention.enter(request.execution_id, request.session_id)

    async def _run_beating(self, job: Job, record: Record) -> RawRun:
        upwards = self._parts.upwards
        if upwards is None:
            return await self._parts.sandbox.run(job, record.cancelled, record.output)
        is_controller = record.epoch is not None
        heart = Heart(
            upwards.control_plane,
            record.execution_id,
            record.report_token,
            self._parts.clock,
            _make_look(Progress(job.workspace), record.output if is_controller else None),
            tells_tails=is_controller,
        )
        async with heart.beating():
            return await self._parts.sandbox.run(job, record.cancelled, record.output)

    def _end_early(self, record: Record) -> None:
        record.cancelled.set()
        if record.state == "queued":
            # Its place is free at once; its task wakes, sees that it is cancelled, and ends.
            self._parts.queue.leave(record.ticket)
            record.ticket.admitted.set()

    async def _finish(self, record: Record, result: ExecutionResult) -> None:
        if record.ended.is_set():
            return
        if record.interrupted and result.reason == "Cancelled":
            self._interrupt(record, result)
            return
        result, record.body = _encode(result)
        record.status, record.message = result.status, result.message
        record.reason, record.exit_code = result.reason, result.exit_code
        self._end(record)
        await asyncio.sleep(0)  # the answer goes first
        if result.stdout_truncated or result.stderr_truncated:
            log.warning("output_truncated", stdout=result.stdout_truncated, stderr=result.stderr_truncated)
        log.info("execution_completed", status=result.status, reason=result.reason, exit_code=result.exit_code)
        self._tell(record, result.status, ResultReport.of(result))

    def _interrupt(self, record: Record, partial: ExecutionResult | None) -> None:
        log.warning("execution_interrupted", execution_id=record.execution_id, state=record.state)
        report = build_crash_report(record.execution_id, record.state != "queued", partial)
        self._end(record)
        self._tell(record, "crashed", report)

    def _end(self, record: Record) -> None:
        """Whoever waits for it goes on."""
        record.state = "ended"
        self._parts.records.settle(record)
        record.ended.set()
        record.output.wake()

    def _tell(self, record: Record, status: str, report: ResultReport) -> None:
        """The metrics and the Control Plane; nothing here waits."""
        self._parts.metrics.count_execution(status, record.language, self._parts.clock.monotonic() - record.accepted_at)
        self._parts.metrics.observe_report(record.language, report)
        self._report(record, report)

    def _report(self, record: Record, report: ResultReport) -> None:
        token = record.report_token
        if self._parts.upwards is None:
            if token is not None:
                self._parts.redactor.forget(token)
            return
        sending = self._parts.upwards.reporter.start(report, token)
        if token is not None:
            sending.add_done_callback(lambda _: self._parts.redactor.forget(token))

    def _check_backlog(self) -> None:
        upwards = self._parts.upwards
        if upwards is not None and upwards.reporter.backlog_full:
            raise BacklogFull(
                "The Control Plane has not taken so many results that there is no space for another.",
                detail=f"{upwards.reporter.backlog_bytes} bytes of results wait",
                solution="See to it that CONTROL_PLANE_URL can be reached; then send the request again.",
            )

    def _check_language(self, request: ExecutionRequest) -> None:
        available = sorted(self._parts.sandbox.languages())
        if request.language not in available:
            raise ValidationFailed(
                f"This executor cannot run {request.language}.",
                detail=f"language: {request.language} has no interpreter in this executor's image",
                solution=f"Use one of: {', '.join(available)}.",
            )


def _make_look(progress: Progress, output: Output | None) -> Callable[[], Said]:
    """What the heartbeats of an execution say; ``output`` None: nothing of its output."""

    def look() -> Said:
        tails = output.read_last(bounds.STATUS_TAIL_BYTES) if output is not None else (b"", b"")
        return Said(progress.read(), *(decode_tail(raw) or None for raw in tails))

    return look


async def _look(workspace: Workspace, shared: bool) -> artifacts.Snapshot:
    """What is in the workspace before the run; only a session's may hold so much that it takes a while."""
    return await asyncio.to_thread(artifacts.snapshot, workspace) if shared else artifacts.snapshot(workspace)


async def _conclude(job: Job, raw: RawRun, before: artifacts.Snapshot) -> ExecutionResult:
    """The result of a run that has ended. In a thread where there may be many files or long streams: that blocks."""
    written = raw.stdout.total_bytes + raw.stderr.total_bytes + len(raw.returned or b"")
    if not raw.workspace.entries and written <= _SMALL_BYTES:
        return capture(job, raw, [])
    return await asyncio.to_thread(_collect, job, raw, before)


def _collect(job: Job, raw: RawRun, before: artifacts.Snapshot) -> ExecutionResult:
    # What a run over its limit has left is removed at once, so nothing of it can be fetched.
    found = artifacts.collect(job.workspace, before) if raw.overrun is None else []
    return capture(job, raw, found)


def _not_found() -> NotFound:
    return NotFound(
        "No such execution on this executor.",
        solution="Check the id; executions are forgotten when the executor restarts.",
    )


def _join(known: Record | Faded, digest: bytes) -> Record:
    """The run that an equal request started."""
    if known.digest != digest:
        raise Conflict(
            "This execution_id was used for a different request.",
            detail=f"execution_id: {known.execution_id}",
            solution="Use a new execution_id, or send exactly the same request to join its run.",
        )
    if isinstance(known, Faded):
        raise Conflict(
            "This execution has ended, and its result is no longer held. It is not run again.",
            detail=f"execution_id: {known.execution_id}, status: {known.status or 'crashed'}",
            solution="Take the result from where it was reported, or use a new execution_id.",
        )
    return known


def _build_result(execution_id: str, status: ResultStatus, reason: Reason, message: str) -> ExecutionResult:
    """A result of an execution whose sandbox gave none."""
    return ExecutionResult(
        execution_id=execution_id,
        status=status,
        reason=reason,
        message=message,
        exit_code=-1,
        execution_time=0.0,
        metrics=ExecutionMetrics(duration_ms=0.0),
    )


def _encode(result: ExecutionResult) -> tuple[ExecutionResult, bytes]:
    """The result and its JSON; half a surrogate pair in a return value, which no UTF-8 can hold, becomes ``?``."""
    try:
        return result, to_json(result)
    except PydanticSerializationError:
        text = json.dumps(result.model_dump(mode="python"), ensure_ascii=False)
        result = ExecutionResult.model_validate_json(text.encode("utf-8", "replace"))
        return result, to_json(result)
