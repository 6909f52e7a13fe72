"""Says whether the controller lives, whether it is ready, and how it does, on a port of its own.

Live: the event loop turned within the last seconds, and the watch still delivers. Ready: the internal
API listens and the API server answers; a standby is ready to lead, and says so. Which replica gets the
executors' reports is not a matter of readiness (``endpoint``).
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
_MISSES_IN_A_ROW: Final = 3
"""kopf opens a watch anew that was silent for 70 s; one that stays deaf for so many lists is beyond that."""


class Health:
    """The state behind the probes."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._monotonic = monotonic
        self._ticked = monotonic()
        self._misses = 0
        self.listed = False
        """This replica leads, and has read everything: reports may come."""
        self.connected = False
        """The API server has answered, and serves what is needed."""
        self.listening: Callable[[], bool] = lambda: False

    async def tick(self) -> None:
        """Notes that the loop turns, until cancelled."""
        while True:
            self._ticked = self._monotonic()
            await asyncio.sleep(_TICK_S)

    def note_resync(self, missed: int) -> None:
        """A list was compared with what the watch had told: so many Executions it had not told in time."""
        self._misses = self._misses + 1 if missed else 0

    @property
    def problem(self) -> str:
        """Why this process should be started anew; empty when it need not."""
        if self._monotonic() - self._ticked >= _STUCK_AFTER_S:
            return "stuck: the event loop does not turn"
        return "stuck: the watch delivers nothing" if self._misses >= _MISSES_IN_A_ROW else ""

    @property
    def live(self) -> bool:
        """Whether it need not be started anew."""
        return not self.problem

    @property
    def ready(self) -> bool:
        """Whether it leads, or would at once."""
        return self.listening() and self.connected

    def build(self) -> FastAPI:
        """The application: ``/healthz``, ``/readyz``, ``/metrics``."""
        app = FastAPI(title="sandbox-executor controller, health", docs_url=None, redoc_url=None, openapi_url=None)
        app.add_api_route("/healthz", self._healthz, methods=["GET"])
        app.add_api_route("/readyz", self._readyz, methods=["GET"])
        app.add_api_route("/metrics", self._render, methods=["GET"])
        return app

    async def _healthz(self) -> Response:
        return PlainTextResponse(self.problem or "ok", status_code=200 if self.live else 503)

    async def _readyz(self) -> Response:
        if not self.ready:
            return PlainTextResponse("starting", status_code=503)
        return PlainTextResponse("leader" if self.listed else "standby")

    async def _render(self) -> Response:
        return Response(self._metrics.render(), media_type=CONTENT_TYPE_LATEST)
