"""Puts the controller together and runs it: what depends on what is said here and nowhere else."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from kubernetes.aio.client import Configuration

from controller.clients.executor import ExecutorClient
from controller.clients.kube import KubeClient
from controller.errors import KubeError
from controller.events import EventRecorder
from controller.handlers import Targets
from controller.health import Health
from controller.logs import get_logger
from controller.metrics import Metrics
from controller.namespaces import NamespaceGate
from controller.pipeline import Collaborators, Pipeline
from controller.pool_keeper import PoolKeeper
from controller.recovery import Recovery
from controller.removal import Removal
from controller.report_tokens import ReportTokens
from controller.reports import Reports
from controller.server import InternalApi
from controller.settings import Settings, TokenFile
from controller.watches import Watches
from controller.writer import StatusWriter

_LIST_AGAIN_S: Final = 2.0
_IDLE_S: Final = 75
logger = get_logger(__name__)


class Server(uvicorn.Server):
    """A uvicorn server that leaves the process's signals to the application."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes none."""
        yield


def make_server(app: FastAPI, port: int) -> Server:
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
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=2,
        )
    )


class Application:
    """One controller process."""

    def __init__(self, settings: Settings, configuration: Configuration) -> None:
        internal = TokenFile(settings.internal_api_token_file)
        execute = TokenFile(settings.execute_api_token_file)
        report_key = TokenFile(settings.report_key_file).read().encode()
        internal.read()
        execute.read()
        self._kube = KubeClient(configuration)
        self._executors = ExecutorClient(execute.read)
        self._metrics = Metrics()
        self._events = EventRecorder(self._kube, self._metrics, now)
        self.health = Health(self._metrics)
        tokens = ReportTokens(report_key)
        self.pipeline = Pipeline(
            Collaborators(
                kube=self._kube,
                executors=self._executors,
                writer=StatusWriter(self._kube),
                tokens=tokens,
                events=self._events,
                metrics=self._metrics,
                namespaces=NamespaceGate(self._kube),
                secret_namespaces=settings.namespaces_with_secrets,
                now=now,
            )
        )
        self._recovery = Recovery(self.pipeline, self._kube, self._executors, settings.operator_namespace, now)
        self._keeper = PoolKeeper(
            self.pipeline, settings, self._kube, self._executors, (self._events, self._metrics, now)
        )
        self._removal = Removal(self._kube, self.pipeline.pools, now)
        self.pipeline.ended = self._removal.note
        targets = Targets(self.pipeline, self._recovery, self._keeper, self._kube, now)
        self._watches = Watches(configuration, targets, settings.operator_namespace)
        api = InternalApi(Reports(self.pipeline, tokens, now), self.pipeline, internal.read, lambda: self.health.listed)
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
            await self._run()
        finally:
            await self._executors.close()
            await self._kube.close()

    async def _run(self) -> None:
        async with self._background(
            self._serve(self._health_server),
            self._serve(self._internal),
            self.health.tick(),
            self._events.run(),
        ) as parts:
            self._take_signals()
            loading = asyncio.ensure_future(self._load())
            await self._wait_for(loading, *parts)
            if not self._stopping.is_set():
                await self._watch(parts)
            loading.cancel()

    async def _watch(self, parts: list[asyncio.Future[Any]]) -> None:
        async with self._background(
            self._keeper.run(), self._recovery.sweep(), self._recovery.resync(), self._removal.run()
        ) as more:
            watching = asyncio.ensure_future(self._watches.run())
            await self._wait_for(asyncio.ensure_future(self._watches.wait_started()), watching, *parts, *more)
            self._take_signals()
            self.health.listed = True
            logger.info("controller ready", executions=len(self.pipeline.registry), pools=len(self.pipeline.pools))
            stopping = asyncio.ensure_future(self._stopping.wait())
            await self._wait_for(stopping, watching, *parts, *more)
            self.health.listed = False
            await self.pipeline.close()
            self._watches.stop()
            await watching

    async def _wait_for(self, goal: asyncio.Future[Any], *others: asyncio.Future[Any]) -> None:
        """Until the goal is reached or the application is told to stop; raises when one of the others ends."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        done, _ = await asyncio.wait({goal, stopping, *others}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for future in done & {goal, *others}:
            future.result()
        if done & set(others):
            self._stopping.set()

    async def _load(self) -> None:
        while True:
            try:
                await self._recovery.load()
                return
            except KubeError as error:
                logger.warning("cannot read the API server yet; trying again", error=str(error))
                await asyncio.sleep(_LIST_AGAIN_S)

    async def _serve(self, server: Server) -> None:
        await server.serve()

    @contextlib.asynccontextmanager
    async def _background(self, *parts: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Future[Any]]]:
        """Runs parts beside the body, and ends them with it."""
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(part) for part in parts]
        try:
            yield tasks
        finally:
            self._internal.should_exit = self._health_server.should_exit = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take_signals(self) -> None:
        """kopf sets handlers of its own when it starts; ours end everything in the right order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)
