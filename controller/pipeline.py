"""The way of an Execution through the controller; the only module that knows the order of the steps.

seen → admitted → placed → claimed → dispatched → (the executor runs it) → reported → written.

The watch handlers and the internal API call in; nothing here waits for them. Each step
that needs the network runs as a task of its own, and there are never more of those than
slots, because a task begins with a slot in hand.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from itertools import islice
from typing import Any, Final

from contracts import bounds
from contracts.control_plane_api import ResultReport
from contracts.execution import Phase
from contracts.executor_api import ExecutionRequest
from controller.admission import Accepted, PoolNotFound, Rejected, admit
from controller.background import Background
from controller.collaborators import Collaborators
from controller.containers import ContainerRuns
from controller.dispatch import Dispatcher, Doubt, Refusal
from controller.errors import ControllerError, StoreError
from controller.facts import Cancelled, ContainerLost, Fact, OutputsSeen, Refused, ResultSeen, Waits
from controller.handover import Handover, is_stopping
from controller.identity import Identities, duplicate
from controller.logs import get_logger
from controller.placement import Placed, Placement
from controller.pods import Pods
from controller.resources import Execution, Pool
from controller.status import RETRYING, SCHEDULED, condition_of
from controller.termination import LOST, explain
from controller.tracing import Tracer
from controller.tracking import GRACE_S, Ended, Mark, Registry, Stage, Tracked
from controller.writer import Written

QUEUED_AFTER_S: Final = 1.0
"""An Execution that waits longer for a slot says so in its status, once."""
CLAIMS_AT_A_TIME: Final = 64
"""Under way: where four thousand slots are free at once, the writes of results must not stand behind as many claims."""
_TOLD_AT_A_TIME: Final = 10
"""A long queue must not take the API server's time from those that run: twenty such writes a second at most."""
_RETRY_S: Final = 2.0
_KILL_WAIT_S: Final = 10.0
_NO_ROOM: Final = (
    "the object is so large (code, stdin, event, annotations) that etcd has no room for its status: create it anew "
    "with less than 1 MiB in all, for example with the code in a ConfigMap"
)
logger = get_logger(__name__)


class Pipeline:
    """Takes what is seen, and sees each Execution through to its end."""

    def __init__(self, with_: Collaborators) -> None:
        self._with = with_
        self.registry = Registry(GRACE_S + (bounds.OUTPUT_UPLOAD_S if with_.uploads else 0.0))
        self.identities = Identities(self.registry, with_.kube)
        self.placement = Placement()
        self.pods = Pods(self.placement)
        self.containers = ContainerRuns(with_.now)
        self.pools: dict[str, Pool] = {}
        self.changed: Callable[[str], None] = lambda pool: None
        self.adopt: Callable[[Tracked], None] = lambda tracked: None
        self.ended: Callable[[Execution], None] = lambda execution: None
        self.deleted: Callable[[Tracked], None] = lambda tracked: None
        self._background = Background(with_.metrics)
        self._dispatcher = Dispatcher(with_.executors, self.pods.run_ids, self._hush, self._trace)
        self._handover = Handover(with_, self.identities, self.pods, self.pools, self._dispatcher)
        self._dirty: set[str] = set()
        self._claiming = 0
        self._held_back: set[str] = set()
        """Pools in which somebody may have had to wait because ``CLAIMS_AT_A_TIME`` were under way."""

    # --- seen -------------------------------------------------------------------------------------------------

    def see(self, execution: Execution) -> None:
        """An Execution was created or changed, or stands in a list."""
        tracked = self.registry.get(execution.uid)
        if tracked is None:
            if execution.ended or self.registry.was_dropped(execution.uid):
                return
            self._begin(self.registry.add(execution))
            return
        tracked.observe(execution)
        if execution.ended:
            if tracked.stage is not Stage.STARTING and not tracked.lock.locked():
                phase = execution.status.phase
                self._drop(tracked, Ended(tracked.uid, tracked.attempt, phase) if phase else None)
        elif tracked.stage is Stage.WAITING and tracked.status.phase == "Running":
            self._begin_anew(tracked)
        elif tracked.stage is Stage.RUNNING and tracked.status.phase == "Pending" and not tracked.lock.locked():
            self._take_back(tracked)  # the last word of an earlier leader came late: another attempt follows
        elif execution.spec.cancel or execution.deleting:
            self.stop(tracked)

    def _begin_anew(self, tracked: Tracked) -> None:
        """What is known of it is out of date: it is taken up as if it had just been seen."""
        self.placement.withdraw(tracked.uid)
        self.registry.drop(tracked, None, forget=True)
        self._begin(self.registry.add(tracked.execution))

    def _begin(self, tracked: Tracked) -> None:
        tracked.seen = self._with.now()
        self._with.metrics.seen.inc()
        if tracked.status.phase == "Running":
            tracked.stage = Stage.RUNNING
            self.registry.give_id(tracked)
            if (pod := self.pods.get(tracked.status.pod_name or "")) is not None:
                tracked.pod_url = pod.url
                self.placement.occupy(tracked.uid, pod.name, tracked.execution.session)
            tracked.dispatched.set()
            tracked.expect_end(self._with.now())
            tracked.hear(self._with.now())
            self.adopt(tracked)
        elif tracked.execution.deleting:
            self._drop(tracked, None)
        elif tracked.execution.spec.cancel:
            self.stop(tracked)
        else:
            self._admit(tracked)

    def lose(self, uid: str) -> None:
        """An Execution is gone from the API server: what it runs is killed."""
        tracked = self.registry.get(uid)
        if tracked is None:
            return
        tracked.deleted = True
        self.stop(tracked)

    def see_pool(self, pool: Pool) -> None:
        """A pool was created or changed: those that wait for it are judged anew."""
        before = self.pools.get(pool.name)
        self.pools[pool.name] = pool
        self.containers.restore(pool)
        if before is not None and (before.uid, before.generation) == (pool.uid, pool.generation):
            return
        self.pods.set_pool(pool)
        for uid in self.placement.waiting(pool.name):
            if (tracked := self.registry.get(uid)) is not None:
                self._admit(tracked)
        self.schedule(pool.name)

    def lose_pool(self, name: str) -> None:
        """A pool is gone: its pods take no more work, what waits for it waits on."""
        if self.pools.pop(name, None) is not None:
            self.pods.lose_pool(name)
            for uid in self.placement.waiting(name):
                if (tracked := self.registry.get(uid)) is not None:
                    self._admit(tracked)
            self.changed(name)

    # --- admitted, placed -------------------------------------------------------------------------------------

    def _admit(self, tracked: Tracked) -> None:
        execution, pool = tracked.execution, self.pools.get(tracked.execution.spec.pool)
        loser = self.identities.check(tracked)
        if isinstance(loser, Tracked):
            self._refuse(loser, duplicate(execution.execution_id))
            loser = None
        match loser or admit(execution, pool, self._with.secret_namespaces):
            case Rejected() as verdict:
                self._refuse(tracked, verdict)
            case PoolNotFound() as verdict:
                self.placement.enqueue(tracked.uid, verdict.pool, execution.order, execution.session)
                self.spawn(self._wait(tracked, Waits("PoolNotFound", verdict.message, self._with.now())), tracked)
            case Accepted(limits):
                tracked.limits = limits
                if pool is not None and self._queue_is_full(tracked, pool):
                    return
                self.placement.enqueue(tracked.uid, execution.spec.pool, execution.order, execution.session)
                self.schedule(execution.spec.pool)

    def _queue_is_full(self, tracked: Tracked, pool: Pool) -> bool:
        counted = self.placement.count(pool.name)
        known = tracked.status.phase == "Pending" or self.placement.is_waiting(tracked.uid)
        if known or counted.queued < pool.spec.queue_limit + counted.free:
            return False
        self._refuse(
            tracked,
            Rejected(
                "QueueFull",
                f"{counted.queued} Executions wait in pool {pool.name}, whose spec.queueLimit is "
                f"{pool.spec.queue_limit}",
                "create it again later, or give the pool more replicas or a longer queue",
            ),
        )
        return True

    def schedule(self, pool: str) -> None:
        """Gives free slots to who waits, at the end of this turn of the loop, so that a burst is placed in order."""
        if pool not in self._dirty:
            self._dirty.add(pool)
            asyncio.get_running_loop().call_soon(self._place, pool)

    def _place(self, pool: str) -> None:
        self._dirty.discard(pool)
        if pool in self.pools and not self._handover.halted:
            room = max(CLAIMS_AT_A_TIME - self._claiming, 0)
            begun = list(islice(self.placement.place(pool), room))
            if len(begun) == room:
                self._held_back.add(pool)
            for placed in begun:
                tracked = self.registry.get(placed.uid)
                if tracked is None:
                    self.placement.release(placed.uid)
                    self.schedule(pool)
                    continue
                tracked.stage = Stage.STARTING
                self._claiming += 1
                self.spawn(self._run(tracked, placed), tracked)
        self.changed(pool)

    def tell_waiting(self) -> None:
        """Those that have waited for a slot for longer than a second say so in their status, once."""
        now = self._with.now()
        room = _TOLD_AT_A_TIME
        for pool in self.pools:
            for uid in self.placement.waiting_uids(pool):
                tracked = self.registry.get(uid)
                if tracked is None or tracked.told_queued or tracked.seen is None:
                    continue
                if room and (now - tracked.seen).total_seconds() >= QUEUED_AFTER_S:
                    room -= 1
                    tracked.told_queued = True
                    self.spawn(self._wait(tracked, Waits("Queued", _queued_message(tracked), now)), tracked)

    async def _wait(self, tracked: Tracked, fact: Waits) -> None:
        if tracked.stage is not Stage.WAITING:
            return
        outcome = await self._with.writer.record(tracked, fact)
        if outcome is Written.GONE:
            self.lose(tracked.uid)
        elif outcome is Written.YES and fact.reason == "PoolNotFound":
            self._with.events.warn(tracked.execution, fact.reason, fact.message)

    # --- claimed, dispatched ----------------------------------------------------------------------------------

    async def _run(self, tracked: Tracked, placed: Placed) -> None:
        try:
            request = await self._claim(tracked, placed)
        except ControllerError as error:
            logger.warning("an Execution could not be started now", error=str(error), **_who(tracked))
            if isinstance(error, StoreError):
                await self._record(tracked, Waits("StoreUnavailable", f"{error}; it is tried again", self._with.now()))
            await asyncio.sleep(_RETRY_S)
            request = None
        if isinstance(request, Rejected):
            await self._end(tracked, _refusal(request, self._with.now()))
        elif request is None:
            self._give_back(tracked)
        else:
            if tracked.stop_wanted:
                self.stop(tracked)
            await self._dispatch(tracked, request)

    async def _claim(self, tracked: Tracked, placed: Placed) -> ExecutionRequest | Rejected | None:
        try:
            return await self._handover.claim(tracked, placed)
        finally:
            self._claiming -= 1
            held_back, self._held_back = self._held_back, set()
            for pool in held_back:
                self.schedule(pool)

    def _give_back(self, tracked: Tracked) -> None:
        """Undoes a placement that did not become a claim."""
        self.placement.release(tracked.uid)
        tracked.stage = Stage.WAITING
        execution = tracked.execution
        if tracked.deleted or execution.ended or execution.deleting:
            self._drop(tracked, None)
        elif tracked.stop_wanted or execution.spec.cancel:
            self.stop(tracked)
        elif execution.status.phase == "Running":
            self._begin_anew(tracked)
        else:
            self._admit(tracked)
        self.schedule(execution.spec.pool)

    async def _dispatch(self, tracked: Tracked, request: ExecutionRequest) -> None:
        self._with.metrics.observe_claim(tracked.seen, tracked.status.start_time)
        self._with.events.note(tracked.execution, "Scheduled", f"runs on pod {tracked.status.pod_name}")
        try:
            outcome = await self._dispatcher.dispatch(tracked, request)
        finally:
            tracked.dispatched.set()
        if self._with.tracer is not None:
            self._record_start(self._with.tracer, tracked, outcome.message if outcome else "")
        if tracked.stage is not Stage.RUNNING:
            return
        match outcome:
            case Refusal("DuplicateExecutionId", message) if tracked.attempt > 1:
                await self.crash(tracked, LOST.reason, f"{message}: an earlier attempt")
            case Refusal(reason, message, solution):
                await self._end(tracked, Refused(reason, message, solution, self._with.now()))
            case Doubt(message):
                logger.warning("an executor does not take an Execution", message=message, **_who(tracked))
                self.adopt(tracked)

    def _trace(self, tracked: Tracked) -> str:
        tracer = self._with.tracer
        return tracer.run_context(tracked.execution, tracked.attempt).traceparent if tracer is not None else ""

    def _record_start(self, tracer: Tracer, tracked: Tracked, failed: str) -> None:
        execution, attempt, claimed = tracked.execution, tracked.attempt, tracked.status.start_time
        if claimed is not None:
            waited_from = execution.created if attempt == 1 else tracked.seen or claimed
            tracer.queued(execution, attempt, min(waited_from, claimed), claimed)
            tracer.dispatched(execution, attempt, claimed, self._with.now(), failed)

    def may_begin(self, tracked: Tracked) -> bool:
        """Whether an attempt that its executor does not know may be handed to it once more."""
        return self._handover.is_open(tracked)

    def begin_again(self, tracked: Tracked) -> None:
        """Hands it over once more."""
        tracked.dispatched.clear()  # from here on others ask only, and leave no tombstone in its way
        tracked.begin(self._with.now())
        self.spawn(self._begin_again(tracked), tracked)

    async def _begin_again(self, tracked: Tracked) -> None:
        try:
            outcome = await self._handover.again(tracked)
        finally:
            tracked.dispatched.set()
        if tracked.stage is not Stage.RUNNING:
            return
        if outcome is None:
            if is_stopping(tracked):
                self.stop(tracked)
            else:
                self.see(tracked.execution)  # where it was not sent, somebody else has written to it
            return
        logger.warning("an Execution cannot be handed over again", message=outcome.message, **_who(tracked))
        tracked.may_begin = False
        if isinstance(outcome, Refusal) and await self._dispatcher.bury(tracked):
            now = self._with.now()
            await self._end(tracked, Refused(outcome.reason, outcome.message, outcome.solution, now))
        else:
            self.adopt(tracked)

    def _hush(self, pod: str) -> None:
        """An executor does not answer: nothing more is placed there until it does."""
        if pod not in self.pods.silent and (found := self.pods.get(pod)) is not None:
            logger.warning("an executor gives no answer and gets no more work", pod=pod)
            self.pods.hush(pod)
            self.changed(found.pool)

    # --- stopped ----------------------------------------------------------------------------------------------

    def stop(self, tracked: Tracked) -> None:
        """It is cancelled or deleted: takes it out of the queue, or kills what runs. Repeated calls do nothing."""
        if tracked.stage is Stage.WAITING:
            self.placement.withdraw(tracked.uid)
            if tracked.deleted or tracked.execution.deleting:
                self._drop(tracked, None)
            else:
                self.spawn(self._end(tracked, Cancelled("cancelled before it ran", self._with.now())), tracked)
        elif tracked.stage is Stage.RUNNING and not tracked.kill_begun:
            tracked.kill_begun = True
            self.spawn(self._kill(tracked), tracked)
        tracked.stop_wanted = True

    async def _kill(self, tracked: Tracked) -> None:
        known = await self._dispatcher.kill(tracked)
        if tracked.deleted:
            self._drop(tracked, None)
        elif known:
            tracked.expect_end(self._with.now(), _KILL_WAIT_S)
        else:
            await self._end(tracked, Cancelled("cancelled; its executor does not know it", self._with.now()))

    # --- reported, written ------------------------------------------------------------------------------------

    async def finish(self, tracked: Tracked, attempt: int, report: ResultReport) -> bool:
        """Folds a result in; False when the Execution had ended otherwise or is gone."""
        mark = mark_of(report)
        if tracked.stage is Stage.RUNNING:
            if report.status == "crashed":
                self._hush(tracked.status.pod_name or "")  # it is about to exit: another attempt shall not go there
            self.placement.release(tracked.uid)
            self.schedule(tracked.execution.spec.pool)
        pod = self.pods.get(tracked.status.pod_name or "") if report.status == "crashed" else None
        if pod is not None:
            report = explain(report, await self._with.notices.complete(pod))
        outputs = await self._look_at_outputs(tracked, attempt, report)
        fact = ResultSeen(attempt, report, self._with.now(), _may_retry(tracked), outputs)
        return await self._end(tracked, fact, mark) is Written.YES

    async def _look_at_outputs(self, tracked: Tracked, attempt: int, report: ResultReport) -> OutputsSeen | None:
        if self._with.uploads is None or not (report.outputs or report.outputs_missing):
            return None
        return await self._with.uploads.look(tracked.execution, attempt, report)

    async def crash(self, tracked: Tracked, reason: str, message: str) -> None:
        """What ran it is gone."""
        fact = ContainerLost(tracked.attempt, reason, message, self._with.now(), _may_retry(tracked))
        await self._end(tracked, fact)

    def record_soon(self, tracked: Tracked, fact: Fact) -> None:
        """Writes a fact that ends nothing, in the background."""
        self.spawn(self._record(tracked, fact), tracked)

    async def _record(self, tracked: Tracked, fact: Fact) -> None:
        await self._with.writer.record(tracked, fact)

    def _refuse(self, tracked: Tracked, verdict: Rejected) -> None:
        self.placement.withdraw(tracked.uid)
        self.spawn(self._end(tracked, _refusal(verdict, self._with.now())), tracked)

    async def _end(self, tracked: Tracked, fact: Fact, mark: Mark | None = None) -> Written:
        """Writes a fact that ends an Execution, and lets go of it once it has ended."""
        if tracked.stage is Stage.ENDED:
            return Written.NO
        outcome = await self._with.writer.record(tracked, fact)
        if outcome is Written.YES and tracked.stage is Stage.RUNNING and tracked.status.phase == "Pending":
            self._retry(tracked)
        if tracked.execution.ended or outcome is Written.GONE:
            phase = tracked.execution.status.phase
            ours = outcome is Written.YES
            ended = Ended(tracked.uid, tracked.attempt, phase, mark if ours else None) if phase else None
            if self._drop(tracked, None if outcome is Written.GONE else ended) and ours and ended is not None:
                self._announce(tracked, ended.phase)
        return outcome

    def _retry(self, tracked: Tracked) -> None:
        """Puts an Execution whose attempt was lost back into its queue, as if it had just come."""
        condition = condition_of(tracked.status, SCHEDULED)
        message = condition.message if condition else ""
        self._with.metrics.retries.inc()
        self._with.events.warn(tracked.execution, RETRYING, message)
        logger.warning("an attempt was lost", message=message, **_who(tracked))
        self._take_back(tracked)

    def _take_back(self, tracked: Tracked) -> None:
        tracked.stage = Stage.ENDED  # whoever still works on the lost attempt stops
        self.placement.release(tracked.uid)
        self._begin_anew(tracked)
        self.schedule(tracked.execution.spec.pool)

    def _announce(self, tracked: Tracked, phase: Phase) -> None:
        execution = tracked.execution
        self._with.metrics.observe_end(execution)
        if self._with.tracer is not None:
            self._with.tracer.ended(execution)
        self.ended(execution)
        reason, message = self._with.events.finished(execution)
        logger.info("Execution ended", phase=phase, reason=reason, message=message, **_who(tracked))

    def _drop(self, tracked: Tracked, ended: Ended | None) -> bool:
        """Lets go of an Execution; False when that was done before."""
        if tracked.stage is Stage.ENDED:
            return False
        tracked.stage = Stage.ENDED
        if tracked.no_room:
            logger.error("etcd has no room for a status; the Execution is let go", **_who(tracked))
            self._with.events.warn(tracked.execution, "NoRoomForStatus", _NO_ROOM)
        if tracked.deleted and not tracked.execution.ended:
            self.deleted(tracked)
        self.placement.withdraw(tracked.uid)
        self.placement.release(tracked.uid)
        self.registry.drop(tracked, ended)
        self.schedule(tracked.execution.spec.pool)
        return True

    # --- in the background ------------------------------------------------------------------------------------

    def spawn(self, step: Coroutine[Any, Any, Any], tracked: Tracked) -> None:
        """Runs a step for an Execution beside everything else."""
        self._background.run(step, stage=tracked.stage.value, **_who(tracked))

    async def close(self, within_s: float) -> None:
        """Begins nothing new, and gives the steps that are under way so long to end.

        What is claimed by then is best dispatched too: the next leader would find that its executor does not know it.
        """
        self._handover.halted = True
        await self._background.settle(within_s)
        await self._background.close()


def _queued_message(tracked: Tracked) -> str:
    spec = tracked.execution.spec
    if spec.session_id is None:
        return f"all slots of pool {spec.pool} are taken; it runs as soon as one is free"
    return (
        f"it waits for its turn in session {spec.session_id}, or for a slot of pool {spec.pool} "
        "on the pod that has the session's workspace"
    )


def _may_retry(tracked: Tracked) -> bool:
    """Whether a lost attempt is followed by another one: never for what is to stop."""
    return tracked.attempt <= tracked.execution.spec.max_retries and not is_stopping(tracked)


def _who(tracked: Tracked) -> dict[str, str]:
    execution = tracked.execution
    return {
        "namespace": execution.namespace,
        "execution": execution.name,
        "execution_id": execution.execution_id,
    }


def _refusal(verdict: Rejected, now: datetime) -> Refused:
    return Refused(verdict.reason, verdict.message, verdict.solution, now)


def mark_of(report: ResultReport) -> Mark:
    """What a repeated report has in common with the first. Of a crash the status may know more than the report."""
    return ("Crashed" if report.status == "crashed" else report.reason, report.exit_code)
