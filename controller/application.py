"""Puts the controller together and runs it: what depends on what is said here and nowhere else.

The order of a life: servers → the API server serves what is needed → watch → wait for leadership → list
everything → work, until told to stop → finish what is under way → give the Lease back.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import uvicorn
from kubernetes.aio.client import Configuration
from starlette.types import ASGIApp

from contracts.outputs import OutputLimits
from controller.artifacts import Artifacts
from controller.clients.executor import ExecutorClient
from controller.clients.kube import KubeClient
from controller.collaborators import Collaborators
from controller.deadlines import Deadlines
from controller.endpoint import Endpoint
from controller.errors import KubeError, SettingsError
from controller.events import EventRecorder
from controller.handlers import Gate, Targets
from controller.health import Health
from controller.inquiry import Inquiry
from controller.leadership import Candidate, Leadership
from controller.logs import get_logger
from controller.metrics import Metrics
from controller.namespaces import NamespaceGate
from controller.notices import Notices
from controller.object_store import ObjectStore
from controller.orphans import Orphans
from controller.output_retention import OutputRetention
from controller.pipeline import Pipeline
from controller.pool_keeper import PoolKeeper
from controller.recovery import Recovery
from controller.relay.relay import make_relay
from controller.removal import Removal
from controller.report_tokens import ReportTokens
from controller.reports import Reports
from controller.server import InternalApi
from controller.settings import Settings, TokenFile
from controller.silence import SilentPods
from controller.tracing import Tracer
from controller.uploads import LocalObjects, LocalSigner, Uploads
from controller.watches import Watches
from controller.witness import Witness
from controller.writer import StatusWriter

_LIST_AGAIN_S: Final = 1.0
_FINISH_S: Final = 1.0
"""For what is under way at a clean stop: with the Lease back after it, another replica leads within two seconds."""
_IDLE_S: Final = 75
Part = Callable[[], Coroutine[Any, Any, None]]
Futures = Sequence[asyncio.Future[Any]]
logger = get_logger(__name__)


class Server(uvicorn.Server):
    """A uvicorn server that leaves the process's signals to the application."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes none."""
        yield


def make_server(app: ASGIApp, port: int) -> Server:
    """A server for one of our applications on all interfaces of the pod."""
    return Server(
        uvicorn.Config(
            app,
            host="0.0.0.0",
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,  # who calls is who is connected
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=2,
        )
    )


class Application:
    """One controller process."""

    def __init__(self, settings: Settings, configuration: Configuration, abandon: Callable[[str], NoReturn]) -> None:
        """``abandon`` ends the process at once, with the reason: it leads no longer."""
        internal = TokenFile(settings.internal_api_token_file)
        execute = TokenFile(settings.execute_api_token_file)
        report_key = TokenFile(settings.report_key_file).read().encode()
        internal.read()
        execute.read()
        self._lease_kube = KubeClient(configuration)  # connections of its own: nothing stands in its way
        candidate = Candidate(settings.operator_namespace, settings.service_name, settings.pod_name)
        self.leadership = Leadership(self._lease_kube, candidate, abandon)
        self._kube = KubeClient(configuration, self.leadership.check)
        self._executors = ExecutorClient(execute.read, execute.read_previous, self.leadership.check)
        metrics = Metrics(settings.metrics_namespaces)
        metrics.watch_leadership(lambda: self.leadership.leads)
        events = EventRecorder(self._kube, metrics, now)
        self.health = Health(metrics)
        tokens = ReportTokens(report_key)
        self._tracer = make_configured_tracer(settings)
        store = ObjectStore(settings.object_store) if settings.object_store else None
        signer = LocalSigner(report_key, now)
        limits = OutputLimits(settings.output_object_bytes, settings.output_total_bytes)
        uploads = Uploads(store, limits, signer) if store else None
        writer = StatusWriter(self._kube, relays=bool(settings.control_plane_url))
        self.pipeline = Pipeline(
            Collaborators(
                kube=self._kube,
                executors=self._executors,
                writer=writer,
                tokens=tokens,
                events=events,
                metrics=metrics,
                namespaces=NamespaceGate(self._kube),
                notices=Notices(self._kube, settings.operator_namespace),
                secret_namespaces=settings.namespaces_with_secrets,
                now=now,
                tracer=self._tracer,
                artifacts=Artifacts(store),
                uploads=uploads,
            )
        )
        inquiry = Inquiry(self.pipeline, self._kube, self._executors, settings.operator_namespace, now)
        self._recovery = Recovery(self.pipeline, self._kube, inquiry, settings.operator_namespace, now)
        keeper = PoolKeeper(self.pipeline, settings, self._kube, self._executors, (events, metrics, now))
        removal = Removal(self._kube, self.pipeline.pools, now)
        self.pipeline.ended = removal.note
        retention = OutputRetention(store, settings.output_retention_days, now) if store else None
        if retention is not None:
            removal.forget_outputs = retention.forget
        self._recovery.resynced = [self.health.note_resync, keeper.resync]
        relay_parts = (self._kube, writer, self.pipeline, metrics)
        self._relay = make_relay(settings, relay_parts, self.leadership.check, self._tracer)
        if self._relay is not None:
            self._relay.connect(removal)
        self.leader_parts: list[Part] = [
            Endpoint(self._kube, settings).run,
            events.run,
            keeper.run,
            Deadlines(self.pipeline, inquiry, now).run,
            SilentPods(self.pipeline, self._executors).run,
            self._recovery.resync,
            Orphans(self.pipeline, self._kube, self._executors, self.leadership.check).run,
            removal.run,
            *([self._relay.run] if self._relay is not None else []),
            *([retention.run] if retention is not None else []),
        ]
        """What runs beside the pipeline while this process leads, from when everything has been listed."""
        self._gate = Gate()
        witness = Witness(now)
        self._recovery.pools_known = lambda: witness.testify(self.pipeline.containers)
        targets = Targets(self._gate, self.pipeline, self._recovery, keeper, self._kube, now, witness)
        self._watches = Watches(configuration, targets, settings.operator_namespace)
        api = InternalApi(
            Reports(self.pipeline, tokens, now, self._relay, uploads),
            self.pipeline,
            internal.matches,
            lambda: self.health.listed,
            LocalObjects(signer, uploads) if store and uploads and store.is_local else None,
        )
        self._internal = make_server(api.build(), settings.internal_api_port)
        self._health_server = make_server(self.health.build(), settings.health_port)
        self.health.listening = lambda: self._internal.started
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ends ``run``."""
        self._stopping.set()

    async def run(self) -> None:
        """Runs until SIGTERM, SIGINT or ``stop``; raises when a part ends that never should."""
        try:
            async with _beside(self._health_server.serve(), self._internal.serve(), self.health.tick()) as parts:
                self._take_signals()
                if await self._reach(self._check_server(), parts):
                    self.health.connected = True
                    await self._live(parts)
                self._internal.should_exit = self._health_server.should_exit = True
        finally:
            if self._relay is not None:
                await self._relay.close()
            for client in (self._executors, self._kube, self._lease_kube):
                await client.close()
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.close)

    async def _live(self, parts: Futures) -> None:
        """Stands by, then leads. The Lease goes back before the watches have ended, which takes a while."""
        watching = asyncio.ensure_future(self._watch())
        if await self._reach(self.leadership.acquire(), [watching, *parts]):
            await self._lead([watching, *parts])
        await self.leadership.release()
        self._gate.close()
        self._watches.stop()
        await watching

    async def _lead(self, parts: Futures) -> None:
        async with _beside(self.leadership.keep()) as keeping:
            self._gate.lead()
            if await self._reach(self._load(), [*keeping, *parts]):
                self._gate.open()
                await self._work([*keeping, *parts])

    async def _work(self, parts: Futures) -> None:
        async with _beside(*(part() for part in self.leader_parts)) as more:
            if await self._reach(self._watches.wait_started(), [*parts, *more]):
                self.health.listed = True
                logger.info("controller ready", executions=len(self.pipeline.registry), pools=len(self.pipeline.pools))
                await self._reach(asyncio.Event().wait(), [*parts, *more])
            self.health.listed = False
            await self._finish()

    async def _finish(self) -> None:
        """Gives what is under way a moment: claimed and not dispatched, or a result that is being written."""
        begun = time.monotonic()
        await self.pipeline.close(_FINISH_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FINISH_S - (time.monotonic() - begun)):
                await self._kube.wait_quiet()

    async def _reach(self, goal: Coroutine[Any, Any, Any], others: Futures) -> bool:
        """Until the goal is reached (True) or the application is told to stop; raises when one of the others ends."""
        reaching, stopping = asyncio.ensure_future(goal), asyncio.ensure_future(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({reaching, stopping, *others}, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()
            if done & set(others):
                self._stopping.set()
            return not self._stopping.is_set()
        finally:
            for future in (reaching, stopping):
                future.cancel()

    async def _check_server(self) -> None:
        """Until our kinds are served and may be read: kopf would never watch what is not there when it starts."""
        await self._try_until_answered(self._recovery.check)

    async def _load(self) -> None:
        await self._try_until_answered(self._recovery.load)

    async def _try_until_answered(self, read: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await read()
                return
            except KubeError as error:
                logger.warning("cannot read the API server yet; trying again", error=str(error))
                await asyncio.sleep(_LIST_AGAIN_S)

    async def _watch(self) -> None:
        """Both operators, and our signals again once they have taken them for themselves."""
        running, started = (
            asyncio.ensure_future(self._watches.run()),
            asyncio.ensure_future(self._watches.wait_started()),
        )
        await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        self._take_signals()
        await running

    def _take_signals(self) -> None:
        """kopf sets handlers of its own when it starts; ours end everything in the right order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)


@contextlib.asynccontextmanager
async def _beside(*parts: Coroutine[Any, Any, Any]) -> AsyncIterator[Futures]:
    """Runs parts beside the body, and ends them with it."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def make_configured_tracer(settings: Settings) -> Tracer | None:
    """None where no collector is named: OpenTelemetry is not even imported then."""
    if not settings.otel_exporter_otlp_endpoint:
        return None
    try:
        from controller import otlp
    except ImportError as error:
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and a package for it is not installed ({error.name}): "
            "pip install 'sandbox-executor[otel]', or leave the variable empty"
        ) from None
    return otlp.make_tracer(settings.otel_exporter_otlp_endpoint, settings.pod_name)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)
