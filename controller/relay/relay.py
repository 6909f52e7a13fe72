"""The relay as the rest of the controller sees it: it is told of things, and never waited for.

The one exception is a result that is larger than ``.status`` keeps: the executor holds it until the
Control Plane has it, so the answer to its report waits for one attempt (``take_whole``).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from contracts.control_plane_api import ResultReport
from contracts.execution import TERMINAL_PHASES
from controller import names, reported
from controller.clients.control_plane import ControlPlaneClient
from controller.clients.kube import KubeClient, Row
from controller.containers import Run
from controller.errors import ControllerError, KubeError
from controller.logs import get_logger
from controller.metrics import Metrics
from controller.pipeline import Pipeline
from controller.relay import farewells, lifecycle
from controller.relay.backlog import Backlog, Item
from controller.relay.channel import Channel
from controller.relay.circuit import Circuit
from controller.relay.clock import Clock
from controller.relay.courier import Courier, Later, Step, Told
from controller.relay.farewells import Farewells
from controller.relay.heartbeats import Heartbeats
from controller.relay.lifecycle import Lifecycle
from controller.relay.results import KIND as RESULT
from controller.relay.results import ResultItem, Results, Ways, make_item
from controller.removal import Removal
from controller.resources import Execution
from controller.settings import Settings, TokenFile
from controller.tracing import Tracer
from controller.tracking import Tracked
from controller.writer import StatusWriter

RELIST_S: Final = 300.0
_LIST_AGAIN_S: Final = 10.0
WHOLES_AT_A_TIME: Final = 2
HELD_BYTES_PER_POD: Final = 96 * 1_048_576
"""Of reports that an executor is asked to hold: at 256 MiB it would take no new work."""
logger = get_logger(__name__)


@dataclass(slots=True)
class _Held:
    """Bytes of whole results that a pod's executor was asked to hold, by uid."""

    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.sizes.values())


@dataclass(frozen=True, slots=True)
class Parts:
    """What the relay works with."""

    client: ControlPlaneClient
    kube: KubeClient
    writer: StatusWriter
    pipeline: Pipeline
    metrics: Metrics
    clock: Clock = Clock()
    tracer: Tracer | None = None


def make_relay(
    settings: Settings,
    parts: tuple[KubeClient, StatusWriter, Pipeline, Metrics],
    fence: Callable[[], object],
    tracer: Tracer | None = None,
) -> "Relay | None":
    """The relay to the Control Plane of the settings; None where they name none. ``fence``: as of its client.

    Raises:
        SettingsError: the token or the CA bundle cannot be read.
    """
    if not settings.control_plane_url or settings.control_plane_token_file is None:
        return None
    token = TokenFile(settings.control_plane_token_file)
    token.read()
    client = ControlPlaneClient(settings.control_plane_url, token.read, settings.control_plane_ca_file, fence)
    return Relay(Parts(client, *parts, tracer=tracer))


class Relay:
    """One a process; ``run`` it while this process is the one that works."""

    def __init__(self, parts: Parts) -> None:
        self._pipeline, self._kube, self._clock = parts.pipeline, parts.kube, parts.clock
        self._client = parts.client
        self._circuit = Circuit()
        channel = Channel(parts.client, self._circuit, parts.metrics, parts.clock)
        self.heartbeats = Heartbeats(channel, parts.metrics)
        self._backlog: Backlog[Item] = Backlog()
        self.results = Results(
            Ways(
                kube=parts.kube,
                writer=parts.writer,
                identities=parts.pipeline.identities,
                channel=channel,
                clock=parts.clock,
                holds=self._pod_is_there,
                heartbeats_end=self.heartbeats.end,
                tracer=parts.tracer,
            )
        )
        self._courier = Courier(self._backlog, self._circuit, parts.metrics, parts.clock)
        self._courier.senders = {
            RESULT: self.results,
            lifecycle.KIND: Lifecycle(channel, parts.pipeline.containers),
            farewells.KIND: Farewells(channel, parts.pipeline.identities, self.heartbeats),
        }
        self._wholes = asyncio.Semaphore(WHOLES_AT_A_TIME)
        self._held: dict[str, _Held] = {}
        self._listed = False
        parts.pipeline.containers.relays = True
        parts.pipeline.containers.listeners.append(self.take_container)
        parts.pipeline.ended = self.take
        parts.pipeline.deleted = self.take_deleted
        parts.metrics.watch_relay(
            length=self._backlog.count,
            oldest_s=lambda: self._backlog.oldest_s(self._clock.monotonic()),
            open_=lambda: not self._circuit.closed,
        )

    def connect(self, removal: Removal) -> None:
        """From now on nothing is removed before it is told."""
        removal.is_held = self.is_waiting
        self.results.settled = removal.note

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    # --- what the relay is told -------------------------------------------------------------------------------

    def take(self, execution: Execution) -> None:
        """An Execution has ended, and that is written."""
        self._backlog.add(make_item(execution, self._clock.monotonic()))

    def take_deleted(self, tracked: Tracked) -> None:
        """An Execution was deleted before it ended."""
        self._backlog.add(farewells.make_item(tracked, self._clock.monotonic()))

    def take_container(self, run: Run) -> None:
        """An executor container has become ready, or has ended."""
        self._backlog.add(lifecycle.make_item(run, self._clock.monotonic()))
        if run.exit is not None:
            self._look_at_held(run.pod_name)

    def beat(self, execution_id: str, progress: dict[str, Any] | None, at: datetime) -> None:
        """An Execution still runs."""
        self.heartbeats.offer(execution_id, progress, at)

    def is_waiting(self, execution: Execution) -> bool:
        """Whether this one's end is still to be told, so that it must not be removed."""
        return execution.ended and not reported.is_settled(execution.status)

    # --- results that only an executor has --------------------------------------------------------------------

    def must_wait(self, uid: str) -> bool:
        """Whether a whole result cannot be told now in any case."""
        item = self._backlog.get(uid)
        waits = isinstance(item, ResultItem) and item.whole
        return waits and self._circuit.pause_s(self._clock.monotonic()) != 0

    async def take_whole(self, uid: str, report: ResultReport, size: int) -> bool:
        """A result that the status has no room for. False: the executor shall hold it, and send it again later.

        Args:
            uid: the Execution's, whose status has been written.
            report: as the executor sent it.
            size: of the report in bytes, as it stands in the executor's spool.
        """
        item = self._backlog.get(uid)
        if not self._listed or not isinstance(item, ResultItem):
            return self._listed  # told already, or gone
        if not item.whole:
            return True
        if self._wholes.locked() or self._backlog.claim(uid) is None:
            return await self._hold(item, size)
        step: Step = Later()
        try:
            async with self._wholes:
                step = await self.results.send_whole(item, report)
        except ControllerError as error:
            logger.warning("a whole result could not be told now", error=str(error))
        finally:
            self._courier.close(item, step)
        if isinstance(step, Told) or not item.whole:
            self._forget_held(item)
            return True
        return await self._hold(item, size)

    async def _hold(self, item: ResultItem, size: int) -> bool:
        """Asks the executor to hold it, unless it holds so much that it would soon take no more work."""
        held = self._held.setdefault(item.pod, _Held())
        held.sizes[item.key] = size
        held.sizes = {uid: known for uid, known in held.sizes.items() if self._backlog.get(uid) is not None}
        if held.total <= HELD_BYTES_PER_POD:
            return False
        try:
            await self.results.let_go(item, f"pod {item.pod} holds more results than it has room for")
        except KubeError as error:
            logger.warning("an executor must hold a result for now", error=str(error))
            return False
        self._forget_held(item)
        self._backlog.hasten(item.key, self._clock.monotonic())
        return True

    def _forget_held(self, item: ResultItem) -> None:
        held = self._held.get(item.pod)
        if held is not None:
            held.sizes.pop(item.key, None)
            if not held.sizes:
                del self._held[item.pod]

    def _look_at_held(self, pod: str) -> None:
        """A container has ended: where its pod is gone, what it held is told without it."""
        if not self._pod_is_there(pod):
            held = self._held.pop(pod, _Held())
            for uid in held.sizes:
                self._backlog.hasten(uid, self._clock.monotonic())

    def _pod_is_there(self, name: str) -> bool:
        pod = self._pipeline.pods.get(name)
        return pod is not None and not pod.finished

    # --- in the background ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tells what is left to tell and all that comes, until cancelled."""
        try:
            await asyncio.gather(self._courier.run(), self._list_forever())
        finally:
            await self.heartbeats.close()

    async def _list_forever(self) -> None:
        while True:
            pause_s = RELIST_S
            try:
                await self.load()
            except KubeError as error:
                logger.warning("Executions that are still to be told could not be listed", error=str(error))
                pause_s = _LIST_AGAIN_S
            await self._clock.sleep(pause_s)

    async def load(self) -> None:
        """Takes up what ended and is not told: before this process started, or without its noticing.

        Raises:
            KubeError: the API server could not be asked.
        """
        self._backlog.overflowed = False
        now = self._clock.monotonic()
        async for rows in self._kube.list_rows(names.executions_path()):
            for row in rows:
                if row.cells.get("Phase") in TERMINAL_PHASES and row.cells.get("Reported") not in reported.SETTLED:
                    self._backlog.add(_from_row(row, now))
        for run in self._pipeline.containers:
            if run.untold:
                self.take_container(run)
        if not self._listed:
            logger.info("the relay goes on", untold=len(self._backlog))
        self._listed = True


def _from_row(row: Row, now: float) -> ResultItem:
    cells = row.cells
    return ResultItem(
        kind=RESULT,
        key=row.uid,
        queued=now,
        namespace=row.namespace,
        name=row.name,
        execution_id=str(cells.get("Execution-ID") or ""),
        pod=str(cells.get("Pod") or ""),
        whole=cells.get("Reported") == reported.WHOLE_PENDING,
    )
