"""Says whether the controller lives, whether it is ready, and how it does, on a port of its own.

Live: the event loop turned within the last seconds. Ready: the internal API listens and
everything has been listed once, so that executors' reports find their Executions.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from controller.metrics import Metrics

_TICK_S: Final = 1.0
_STUCK_AFTER_S: Final = 15.0


class Health:
    """The state behind the probes."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._monotonic = monotonic
        self._ticked = monotonic()
        self.listed = False
        self.listening: Callable[[], bool] = lambda: False

    async def tick(self) -> None:
        """Notes that the loop turns, until cancelled."""
        while True:
            self._ticked = self._monotonic()
            await asyncio.sleep(_TICK_S)

    @property
    def live(self) -> bool:
        """Whether the loop turned lately."""
        return self._monotonic() - self._ticked < _STUCK_AFTER_S

    @property
    def ready(self) -> bool:
        """Whether reports may come."""
        return self.listed and self.listening()

    def build(self) -> FastAPI:
        """The application: ``/healthz``, ``/readyz``, ``/metrics``."""
        app = FastAPI(title="sandbox-executor controller, health", docs_url=None, redoc_url=None, openapi_url=None)
        app.add_api_route("/healthz", self._healthz, methods=["GET"])
        app.add_api_route("/readyz", self._readyz, methods=["GET"])
        app.add_api_route("/metrics", self._render, methods=["GET"])
        return app

    async def _healthz(self) -> Response:
        return PlainTextResponse("ok" if self.live else "stuck", status_code=200 if self.live else 503)

    async def _readyz(self) -> Response:
        return PlainTextResponse("ok" if self.ready else "starting", status_code=200 if self.ready else 503)

    async def _render(self) -> Response:
        return Response(self._metrics.render(), media_type=CONTENT_TYPE_LATEST)
