"""Puts the log API together and runs it until it is told to stop."""

import asyncio
import contextlib
import signal
from typing import Final

from aiohttp import web
from kubernetes.aio.client import Configuration
from prometheus_client import CONTENT_TYPE_LATEST

from controller.clients.kube import KubeClient
from controller.logs import get_logger
from controller.object_store import ObjectStore
from controller.settings import TokenFile
from log_api.errors import TrustError
from log_api.executions import Executions
from log_api.executors import Executors
from log_api.follow import Follower
from log_api.metrics import Metrics
from log_api.outputs import Outputs
from log_api.server import LogApi
from log_api.settings import Settings
from log_api.streams import Streams
from log_api.trust import Trust

_RETRY_S: Final = 1.0
_OTHER_REQUESTS: Final = 64
"""Connections to the API server beside the watches, of which each open stream may have one."""
_FINISH_S: Final = 20.0
"""For answers under way at a clean stop; whoever follows longer asks again, where it has got to."""
_LEAVE_S: Final = 2.0
"""Until who routes requests here has heard that no more are wanted."""
_HEADERS: Final = 4000
"""A user may be in very many groups, and each is a header."""
logger = get_logger(__name__)


class Application:
    """One process of the log API."""

    def __init__(self, settings: Settings, configuration: Configuration) -> None:
        self._settings = settings
        configuration.connection_pool_maxsize = settings.max_streams + _OTHER_REQUESTS
        token = TokenFile(settings.execute_api_token_file)
        token.read()
        self._kube = KubeClient(configuration)
        self._metrics = Metrics()
        self._trust = Trust(self._kube, settings.tls_certificate_file, settings.tls_key_file)
        executions = Executions(self._kube)
        self._executors = Executors(self._kube, settings.operator_namespace, token.read, token.read_previous)
        follower = Follower(executions, self._executors, self._metrics)
        streams = Streams(settings.max_streams, settings.max_streams_per_user, self._metrics)
        store = ObjectStore(settings.object_store) if settings.object_store else None
        self._api = LogApi(self._kube, self._trust, executions, follower, streams, self._metrics, Outputs(store))
        self._ready = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)
        health = web.AppRunner(self._build_health(), access_log=None)
        # Cancelled when the client leaves: one that waits for output has nothing else to learn it by.
        api = web.AppRunner(
            self._api.build(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_FINISH_S,
            max_headers=_HEADERS,
        )
        watching: asyncio.Task[None] | None = None
        try:
            await health.setup()
            await web.TCPSite(health, port=self._settings.health_port).start()
            if await self._load():
                await api.setup()
                site = web.TCPSite(api, port=self._settings.port, ssl_context=self._trust.listen())
                await site.start()
                watching = asyncio.create_task(self._trust.run())
                self._ready = True
                await self._stopping.wait()
            logger.info("stops")
            if self._ready:
                self._ready = False
                await asyncio.sleep(_LEAVE_S)
        finally:
            if watching is not None:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching
            await api.cleanup()
            await health.cleanup()
            await self._executors.close()
            await self._kube.close()

    async def _load(self) -> bool:
        """Whether the certificates could be read before it was told to stop."""
        while not self._stopping.is_set():
            try:
                await self._trust.load()
                return True
            except TrustError as error:
                logger.warning("cannot serve yet", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _RETRY_S)
        return False

    def _build_health(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._render)
        return app

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _readyz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok" if self._ready else "starting", status=200 if self._ready else 503)

    async def _render(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
