"""Kubernetes Events for what a person looks for in ``kubectl describe``, off the way of the Executions.

Sent by one task from a bounded queue, at a bounded rate: Events are for people, and must
never slow an Execution or fill the API server. Those that find no room are counted.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal

from contracts.kube import API_VERSION, EXECUTION_KIND, POOL_KIND
from controller import names
from controller.clients.kube import KubeClient
from controller.errors import KubeError
from controller.logs import get_logger
from controller.metrics import Metrics
from controller.resources import Execution, Pool
from controller.status import FINISHED, condition_of

_QUEUE_LENGTH: Final = 1000
_BURST: Final = 50
_PER_SECOND: Final = 10.0
_KEPT_FOR_WARNINGS: Final = 25.0
"""Of the burst: however many Executions succeed, the Event of one that failed finds room."""
_MESSAGE_LENGTH: Final = 1000
_OWN_NAMESPACE_FOR_CLUSTER_SCOPED: Final = "default"
Kind = Literal["Normal", "Warning"]
logger = get_logger(__name__)


class EventRecorder:
    """Takes Events without ever blocking, and sends them from ``run``."""

    def __init__(self, kube: KubeClient, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._metrics = metrics
        self._now = now
        self._queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(_QUEUE_LENGTH)
        self._budget = float(_BURST)
        self._refilled = time.monotonic()

    def note(self, execution: Execution, reason: str, message: str) -> None:
        """Something normal happened to an Execution."""
        self._put(execution.namespace, _reference(execution), "Normal", reason, message)

    def warn(self, execution: Execution, reason: str, message: str) -> None:
        """Something happened to an Execution that a person may have to act on."""
        self._put(execution.namespace, _reference(execution), "Warning", reason, message)

    def note_pool(self, pool: Pool, reason: str, message: str) -> None:
        """Something normal happened to a pool; cluster-scoped objects' Events live in the namespace default."""
        self._put(_OWN_NAMESPACE_FOR_CLUSTER_SCOPED, _pool_reference(pool), "Normal", reason, message)

    def warn_pool(self, pool: Pool, reason: str, message: str) -> None:
        """Something is wrong with a pool."""
        self._put(_OWN_NAMESPACE_FOR_CLUSTER_SCOPED, _pool_reference(pool), "Warning", reason, message)

    def finished(self, execution: Execution) -> tuple[str, str]:
        """How an Execution ended; returns the reason and message that were told."""
        condition = condition_of(execution.status, FINISHED)
        phase, reason = str(execution.status.phase), condition.reason if condition else ""
        message = f"{phase} ({reason}): {condition.message if condition else ''}"
        if phase == "Rejected":
            self.warn(execution, reason, condition.message if condition else "")
        elif phase == "Succeeded":
            self.note(execution, "Finished", message)
        else:
            self.warn(execution, "Finished", message)
        return reason, condition.message if condition else ""

    async def run(self) -> None:
        """Sends what is queued, until cancelled."""
        while True:
            path, body = await self._queue.get()
            try:
                await self._kube.create(path, body)
            except KubeError as error:
                self._metrics.events_dropped.inc()
                logger.debug("an Event was not taken", error=str(error))

    def _put(self, namespace: str, reference: dict[str, str], kind: Kind, reason: str, message: str) -> None:
        if not self._spend(_KEPT_FOR_WARNINGS if kind == "Normal" else 0.0):
            self._metrics.events_dropped.inc()
            return
        body = self._event(namespace, reference, kind, reason, message)
        try:
            self._queue.put_nowait((names.core_path(namespace, "events"), body))
        except asyncio.QueueFull:
            self._metrics.events_dropped.inc()

    def _spend(self, kept: float) -> bool:
        now = time.monotonic()
        self._budget = min(_BURST, self._budget + (now - self._refilled) * _PER_SECOND)
        self._refilled = now
        if self._budget < 1 + kept:
            return False
        self._budget -= 1
        return True

    def _event(
        self, namespace: str, reference: dict[str, str], kind: Kind, reason: str, message: str
    ) -> dict[str, Any]:
        at = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{reference['name'][:200]}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": reference,
            "type": kind,
            "reason": reason,
            "message": message[:_MESSAGE_LENGTH],
            "source": {"component": names.COMPONENT_NAME},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }


def _pool_reference(pool: Pool) -> dict[str, str]:
    return {"apiVersion": API_VERSION, "kind": POOL_KIND, "name": pool.name, "uid": pool.uid}


def _reference(execution: Execution) -> dict[str, str]:
    return {
        "apiVersion": API_VERSION,
        "kind": EXECUTION_KIND,
        "namespace": execution.namespace,
        "name": execution.name,
        "uid": execution.uid,
    }
