"""Keeps each pool's Deployment and status as they should be; rollouts and replacement are left to Kubernetes.

Status writes are gathered: slots change with every Execution, people and autoscalers look
once in a while.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from controller import names
from controller.clients.executor import ExecutorClient
from controller.clients.kube import KubeClient
from controller.conditions import find_condition
from controller.containers import Run
from controller.errors import ExecutorError, KubeConflict, KubeError, KubeNotFound
from controller.events import EventRecorder
from controller.logs import get_logger
from controller.metrics import Metrics
from controller.pipeline import Pipeline
from controller.pool_status import DEGRADED, PoolView, make_status
from controller.pools import build_deployment
from controller.resources import Pod, Pool
from controller.settings import Settings
from controller.tracking import is_newer

_STATUS_INTERVAL_S: Final = 1.0
_RETRY_S: Final = 5.0
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Written:
    """The status of a pool that is known to stand in the API server, and in which version of the object."""

    uid: str
    status: dict[str, Any]
    resource_version: str


class PoolKeeper:
    """Reconciles pools; told of changes by the watches, does its work in ``run``."""

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        kube: KubeClient,
        executors: ExecutorClient,
        watchers: tuple[EventRecorder, Metrics, Callable[[], datetime]],
    ) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._kube = kube
        self._executors = executors
        self._events, self._metrics, self._now = watchers
        self._deployments: dict[str, Mapping[str, Any]] = {}
        self._applied: dict[str, str] = {}
        self._apply_errors: dict[str, str] = {}
        self._written: dict[str, _Written] = {}
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        pipeline.changed = pipeline.containers.changed = self.touch
        pipeline.containers.listeners.append(self._tell_run)

    def touch(self, pool: str) -> None:
        """Something about a pool has changed."""
        self._dirty.add(pool)
        self._wake.set()

    def see_deployment(self, body: Mapping[str, Any], deleted: bool) -> None:
        """A Deployment of ours was changed or deleted."""
        pool = (body["metadata"].get("annotations") or {}).get(names.POOL_ANNOTATION)
        if pool is None:
            return
        before = self._deployments.pop(pool, None)
        if deleted:
            self._applied.pop(pool, None)
        else:
            self._deployments[pool] = body
            if before is not None and _generation(before) != _generation(body):
                self._applied.pop(pool, None)
        self.touch(pool)

    def resync(self, _missed: int) -> None:
        """Compares all pools with the API server anew: an event about a Deployment may have been lost."""
        self._applied.clear()
        for pool in self._pipeline.pools:
            self.touch(pool)

    async def run(self) -> None:
        """Applies and writes what has changed, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._dirty = self._dirty, set()
            done = await asyncio.gather(*(self._reconcile(name) for name in dirty), return_exceptions=True)
            for problem in done:
                if isinstance(problem, Exception):
                    logger.error("a pool could not be reconciled", exc_info=problem)
            await asyncio.sleep(_STATUS_INTERVAL_S)

    async def _reconcile(self, name: str) -> None:
        pool = self._pipeline.pools.get(name)
        if pool is None:
            self._applied.pop(name, None)
            self._apply_errors.pop(name, None)
            self._written.pop(name, None)
            self._metrics.forget_pool(name)
            return
        try:
            await self._apply(pool)
            await self._read_isolation(name)
            await self._write_status(pool)
        except KubeNotFound:
            return
        except KubeError as error:
            logger.warning("a pool could not be reconciled; it is tried again", pool=name, error=str(error))
            asyncio.get_running_loop().call_later(_RETRY_S, self.touch, name)

    async def _apply(self, pool: Pool) -> None:
        manifest = build_deployment(pool, self._settings)
        text = json.dumps(manifest, sort_keys=True)
        if self._applied.get(pool.name) == text:
            return
        path = f"{names.deployments_path(self._settings.operator_namespace)}/{manifest['metadata']['name']}"
        try:
            self._deployments[pool.name] = await self._kube.apply(path, manifest)
        except KubeError as error:
            if error.status not in (400, 403, 422):
                raise
            self._apply_errors[pool.name] = error.message or error.reason
            asyncio.get_running_loop().call_later(_RETRY_S * 6, self.touch, pool.name)
        else:
            self._apply_errors.pop(pool.name, None)
            self._applied[pool.name] = text
            logger.info("pool deployed", pool=pool.name, deployment=manifest["metadata"]["name"])

    async def _read_isolation(self, name: str) -> None:
        """Asks each pod that takes work for its isolation level, once for each container run."""
        pods = self._pipeline.pods
        unknown = [pod for pod in pods.of_pool(name) if pods.accepts(pod) and pod.name not in pods.isolation]
        for pod, level in zip(unknown, await asyncio.gather(*map(self._level, unknown)), strict=True):
            if level:
                pods.isolation[pod.name] = level

    async def _level(self, pod: Pod) -> str:
        try:
            health = await self._executors.read_health(pod.url)
        except ExecutorError:
            return ""
        if health is None:
            return ""
        self._pipeline.pods.run_ids[pod.name] = health.run_id
        return health.isolation

    async def _write_status(self, pool: Pool) -> None:
        pods = self._pipeline.pods
        mine = sorted(pods.of_pool(pool.name), key=lambda pod: pod.name)
        ready = [pod for pod in mine if pods.accepts(pod)]
        view = PoolView(
            pool=pool,
            deployment=self._deployments.get(pool.name),
            pods=tuple(mine),
            taking_work=len(ready),
            count=self._pipeline.placement.count(pool.name),
            isolation=tuple(pods.isolation[pod.name] for pod in ready if pod.name in pods.isolation),
            apply_error=self._apply_errors.get(pool.name, ""),
            silent=tuple(pod.name for pod in mine if pod.name in pods.silent),
            containers=self._pipeline.containers.rows(pool.name),
        )
        self._metrics.show_pool(pool.name, view.count, pool.spec.queue_limit)
        written = self._written.get(pool.name)
        if written is None or written.uid != pool.uid or is_newer(pool.resource_version, written.resource_version):
            written = _Written(pool.uid, pool.status.to_kube(), pool.resource_version)
        before = written.status
        status = make_status(view, self._now())
        after = status.to_kube()
        patch = {key: value for key, value in after.items() if before.get(key, ...) != value}
        patch.update({key: None for key in before if key not in after})
        if not patch:
            return
        try:
            version = await self._kube.merge_status(names.pool_path(pool.name), patch, written.resource_version)
        except KubeConflict:
            # Its spec has changed, or another leader has written: what the watch brings is looked at next.
            self._written.pop(pool.name, None)
            asyncio.get_running_loop().call_later(_STATUS_INTERVAL_S, self.touch, pool.name)
            return
        self._written[pool.name] = _Written(pool.uid, after, version)
        self._tell(pool, before, status.conditions)

    def _tell(self, pool: Pool, before: dict[str, Any], conditions: Any) -> None:
        """One Event when a pool becomes degraded, or degraded for another reason."""
        degraded = find_condition(conditions, DEGRADED)
        if degraded is None or degraded.status != "True":
            return
        was: dict[str, Any] = next((item for item in before.get("conditions") or () if item["type"] == DEGRADED), {})
        if was.get("status") != "True" or was.get("reason") != degraded.reason:
            self._events.warn_pool(pool, degraded.reason, degraded.message)

    def _tell_run(self, run: Run) -> None:
        """One Event when an executor container becomes ready, and one when it ends."""
        if run.exit is not None:
            self._metrics.count_container_exit(run.exit.reason)
        pool = self._pipeline.pools.get(run.pool)
        if pool is None:
            return
        if run.exit is None:
            self._events.note_pool(pool, "ContainerReady", f"the executor on pod {run.pod_name} takes work")
            return
        told = f"{run.exit.message} ({run.exit.reason}, exit code {run.exit.code})"
        tell = self._events.note_pool if run.exit.reason in ("normal", "sigterm") else self._events.warn_pool
        tell(pool, "ContainerExited", told)


def _generation(body: Mapping[str, Any]) -> Any:
    return body["metadata"].get("generation")
