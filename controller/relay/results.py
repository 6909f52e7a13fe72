"""Tells how Executions ended: reads one live, says what stands there, writes down what the Control Plane answered."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from pydantic import ValidationError

from contracts.control_plane_api import ResultReport
from contracts.control_plane_retry import MAX_ATTEMPTS, Outcome
from controller import names, reported
from controller.clients.control_plane import Answer, Call
from controller.clients.kube import KubeClient
from controller.errors import KubeNotFound
from controller.facts import Relayed
from controller.identity import Identities
from controller.logs import get_logger
from controller.relay.backlog import Item
from controller.relay.channel import Channel
from controller.relay.clock import Clock
from controller.relay.courier import Failed, Later, Step, Told
from controller.relay.words import build_farewell, build_report, complete, result_call
from controller.resources import Execution, parse_execution
from controller.tracing import Tracer
from controller.tracking import Tracked
from controller.writer import StatusWriter

KIND: Final = "result"
WHOLE_WAIT_S: Final = 24 * 3600.0
"""For this long an executor keeps a result that nobody takes (the seed's T039)."""
_TOO_LARGE: Final = 413
_LOOK_AGAIN_S: Final = 15.0
_WRITE_AGAIN_S: Final = 600.0
"""Between two writes that say that it does not go through."""
logger = get_logger(__name__)


@dataclass(slots=True)
class ResultItem(Item):
    """An Execution that has ended (``key`` is its uid) and is still to be told.

    ``execution_id`` is empty when it was never claimed. ``pod`` holds the whole result while ``whole``.
    """

    namespace: str = ""
    name: str = ""
    execution_id: str = ""
    pod: str = ""
    whole: bool = False
    written: float | None = None


def make_item(execution: Execution, now: float) -> ResultItem:
    """An Execution that ended just now."""
    status = execution.status
    return ResultItem(
        kind=KIND,
        key=execution.uid,
        queued=now,
        namespace=execution.namespace,
        name=execution.name,
        execution_id=status.execution_id or "",
        pod=status.pod_name or "",
        whole=reported.reason_of(status) == reported.WHOLE_PENDING,
    )


@dataclass(frozen=True, slots=True)
class Ways:
    """Where results come from and where they go."""

    kube: KubeClient
    writer: StatusWriter
    identities: Identities
    channel: Channel
    clock: Clock
    holds: Callable[[str], bool]
    """Whether a pod of this name is there, so that its executor may still hold a result."""
    heartbeats_end: Callable[[str], Awaitable[None]]
    """Returns once no heartbeat of this execution is under way."""
    tracer: Tracer | None = None


class Results:
    """The sender of results."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self.settled: Callable[[Execution], None] = lambda execution: None

    async def send(self, item: Item) -> Step:
        """One attempt at a result, as its status has it.

        Raises:
            KubeError: the API server could not be asked or told.
        """
        if not isinstance(item, ResultItem):
            raise TypeError(f"not a result: {item.kind}")
        if item.whole and self._is_held(item):
            return Later(_LOOK_AGAIN_S)
        execution = await self._read(item)
        if execution is None:
            return await self._tell_gone(item)
        return await self._tell(item, execution, None)

    async def send_whole(self, item: ResultItem, report: ResultReport) -> Step:
        """One attempt at a result with all of its streams, which only the executor has.

        Raises:
            KubeError: as ``send``.
        """
        execution = await self._read(item)
        return Told() if execution is None else await self._tell(item, execution, report)

    async def let_go(self, item: ResultItem, why: str) -> None:
        """From now on what the status keeps is enough. Durable once this returns.

        Raises:
            KubeError: as ``send``.
        """
        execution = await self._read(item)
        if execution is not None:
            await self._write(execution, reported.let_go(self._ways.clock.now(), why))
        item.whole = False

    def _is_held(self, item: ResultItem) -> bool:
        waited_s = self._ways.clock.monotonic() - item.queued
        return waited_s < WHOLE_WAIT_S and self._ways.holds(item.pod)

    async def _read(self, item: ResultItem) -> Execution | None:
        """The Execution; None when it is gone, or another one has its name."""
        try:
            body = await self._ways.kube.get(names.execution_path(item.namespace, item.name))
            execution = parse_execution(body)
        except KubeNotFound:
            return None
        except ValidationError:
            logger.warning(
                "an Execution cannot be read, and is not told", namespace=item.namespace, execution=item.name
            )
            item.execution_id = ""  # it goes without a word: it is there, and nobody knows what it says
            return None
        return execution if execution.uid == item.key else None

    async def _tell(self, item: ResultItem, execution: Execution, whole: ResultReport | None) -> Step:
        now = self._ways.clock.now()
        if not execution.ended or reported.is_settled(execution.status):
            self.settled(execution)
            return Told()
        item.attempts = item.attempts or reported.count_attempts(execution.status)
        if not await self._owns_id(execution):
            message = f"another Execution has the execution id {execution.execution_id}; nothing is told of this one"
            return await self._close(execution, reported.settled(reported.NOT_OWNER, message, now))
        await self._ways.heartbeats_end(execution.execution_id)
        report = build_report(execution)
        if whole is not None:
            report = complete(report, whole)
        answer = await self._post(execution, result_call(report))
        if answer is None:
            return Later()
        _log(item, execution, answer)
        if whole is not None and answer.status == _TOO_LARGE:
            await self.let_go(item, "it is too large for the Control Plane")
            return Later(0.0)
        if answer.outcome.final:
            return await self._close(execution, self._verdict(execution, answer, whole is not None))
        await self._write_failure(item, execution, answer)
        return Failed()

    async def _post(self, execution: Execution, call: Call) -> Answer | None:
        tracer = self._ways.tracer
        if tracer is None:
            return await self._ways.channel.post(KIND, call)
        begun = self._ways.clock.now()
        traced = replace(call, traceparent=tracer.report_context(execution).traceparent)
        answer = await self._ways.channel.post(KIND, traced)
        if answer is not None and answer.outcome.final:
            failed = "" if answer.outcome is Outcome.ACCEPTED else answer.detail
            tracer.reported(execution, begun, self._ways.clock.now(), answer.status, failed)
        return answer

    def _verdict(self, execution: Execution, answer: Answer, whole: bool) -> Relayed:
        now, said = self._ways.clock.now(), f"the Control Plane answered {answer.status}"
        if answer.outcome is Outcome.REFUSED:
            return reported.settled(reported.REFUSED, f"{said}, and would again: it is not told any more", now)
        if answer.status == 404:
            return reported.settled(reported.NOT_KNOWN, f"{said}: it knows no such execution", now)
        told_in_part = not whole and not reported.holds_whole(execution.status)
        if answer.status == 409:
            otherwise = "there it has ended otherwise"
            if told_in_part:  # whoever told the whole one may have been killed before the answer came
                otherwise += ", or it has had the whole result, of which the status keeps a part, before"
            return reported.settled(reported.CONFLICT, f"{said}: {otherwise}", now)
        if told_in_part:
            return reported.settled(
                reported.TRUNCATED, f"{said}; it was told what the status keeps, with what is cut off marked so", now
            )
        reason = reported.ALREADY_KNOWN if answer.status == 200 else reported.ACCEPTED
        return reported.settled(reason, said, now)

    async def _close(self, execution: Execution, fact: Relayed) -> Step:
        self.settled(await self._write(execution, fact))
        return Told()

    async def _write_failure(self, item: ResultItem, execution: Execution, answer: Answer) -> None:
        """Says that it does not go through: after the first five attempts, and then once in a while."""
        now, attempts = self._ways.clock.monotonic(), item.attempts + 1
        if attempts < MAX_ATTEMPTS or (item.written is not None and now - item.written < _WRITE_AGAIN_S):
            return
        item.written = now
        reason = reported.WHOLE_PENDING if item.whole else answer.outcome.value.capitalize()
        await self._write(execution, reported.failed(reason, attempts, answer.detail, self._ways.clock.now()))

    async def _write(self, execution: Execution, fact: Relayed) -> Execution:
        tracked = Tracked(execution)
        await self._ways.writer.record(tracked, fact)
        return tracked.execution

    async def _owns_id(self, execution: Execution) -> bool:
        """Whether the id is this one's. One that was never claimed may have asked for another's."""
        if execution.status.attempt is not None:
            return True
        return all(other.uid == execution.uid for other in await self._find(execution.execution_id))

    async def _tell_gone(self, item: ResultItem) -> Step:
        """It was deleted before this was told. One that was never claimed goes without a word."""
        if not item.execution_id or await self._find(item.execution_id):
            return Told()
        answer = await self._ways.channel.post(KIND, result_call(build_farewell(item.execution_id, ended=True)))
        if answer is None:
            return Later()
        return Told() if answer.outcome.final else Failed()

    async def _find(self, execution_id: str) -> list[Execution]:
        return await self._ways.identities.find(execution_id)


def _log(item: ResultItem, execution: Execution, answer: Answer) -> None:
    about = {
        "namespace": item.namespace,
        "execution": item.name,
        "execution_id": execution.execution_id,
        "attempt": item.attempts + 1,
        "answer": answer.detail,
    }
    if answer.outcome is Outcome.REFUSED:
        logger.error("the Control Plane refuses a result", **about)
    elif answer.outcome is Outcome.DROPPED:
        logger.warning("the Control Plane does not want a result", **about)
    elif answer.outcome is Outcome.ACCEPTED and item.attempts:
        logger.info("a result is told at last", **about)
    elif answer.outcome is not Outcome.ACCEPTED and item.attempts + 1 in (1, MAX_ATTEMPTS):
        logger.warning("a result could not be told yet", **about)
