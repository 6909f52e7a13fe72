"""What kopf calls for each watch event: parse, hand over, return.

``on.event`` only: no finalizers, no annotations, no writes of kopf's own. A handler that
raises would not be tried again, so nothing here waits for the network (but for the lists at the
start); the pipeline has its own tasks, and the resync brings back what an event has lost.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import kopf
from pydantic import ValidationError

from contracts.kube import EXECUTION_PLURAL, GROUP, POOL_PLURAL, VERSION
from controller import names
from controller.clients.kube import KubeClient
from controller.logs import get_logger
from controller.pipeline import Pipeline
from controller.pool_keeper import PoolKeeper
from controller.recovery import Recovery
from controller.resources import parse_execution, parse_pod, parse_pool
from controller.unreadable import parse_or_refuse
from controller.witness import Witness

logger = get_logger(__name__)


class Gate:
    """Lets no event through before this process leads and has read everything.

    The watches of a standby run, so that a failover need not wait for them. What they tell before the new leader's
    lists is in those lists; what they tell while it reads them waits, for the pools must be known before it is judged.
    """

    def __init__(self) -> None:
        self._leads = False
        self._loaded = asyncio.Event()

    def lead(self) -> None:
        """From now on events count; to be called before the lists are read."""
        self._leads = True

    def open(self) -> None:
        """Everything has been read."""
        self._loaded.set()

    def close(self) -> None:
        """Events count no longer."""
        self._leads = False
        self._loaded.set()

    async def passes(self) -> bool:
        """Whether an event is to be handled, once that is known."""
        if self._leads:
            await self._loaded.wait()
        return self._leads


@dataclass(frozen=True, slots=True)
class Targets:
    """Where events go."""

    gate: Gate
    pipeline: Pipeline
    recovery: Recovery
    keeper: PoolKeeper
    kube: KubeClient
    now: Callable[[], datetime]
    witness: Witness


def register_cluster_handlers(registry: kopf.OperatorRegistry, targets: Targets) -> None:
    """Executions and ExecutorPools, in all namespaces."""

    @kopf.on.event(GROUP, VERSION, EXECUTION_PLURAL, registry=registry)
    async def see_execution(event: kopf.RawEvent, **_: Any) -> None:
        if not await targets.gate.passes():
            return
        body = event["object"]
        targets.recovery.deliver(body["metadata"]["uid"])
        if event["type"] == "DELETED":
            # Also when it has left our field selector because it ended: only a live read can tell.
            targets.recovery.miss(body["metadata"]["uid"])
            return
        try:
            targets.pipeline.see(parse_execution(body))
        except ValidationError:
            await parse_or_refuse(body, targets.kube, targets.now())

    @kopf.on.event(GROUP, VERSION, POOL_PLURAL, registry=registry)
    async def see_pool(event: kopf.RawEvent, **_: Any) -> None:
        if not await targets.gate.passes():
            return
        name = event["object"]["metadata"]["name"]
        if event["type"] == "DELETED":
            targets.pipeline.lose_pool(name)
            return
        try:
            targets.pipeline.see_pool(parse_pool(event["object"]))
        except ValidationError as error:
            logger.error("an ExecutorPool cannot be read", pool=name, error=str(error.errors(include_input=False)[:1]))
        targets.keeper.touch(name)


def register_namespace_handlers(registry: kopf.OperatorRegistry, targets: Targets) -> None:
    """Executor pods and their Deployments, in the operator's namespace only."""

    @kopf.on.event("", "v1", "pods", registry=registry)
    async def see_pod(event: kopf.RawEvent, **_: Any) -> None:
        pod, gone = parse_pod(event["object"]), event["type"] == "DELETED"
        if pod is None:
            return
        if not await targets.gate.passes():
            targets.witness.see(pod, gone=gone)
            return
        if gone:
            targets.recovery.see_pod(pod)
            targets.recovery.lose_pod(pod.name)
        else:
            targets.recovery.see_pod(pod)
        targets.keeper.touch(pod.pool)

    @kopf.on.event("apps", "v1", "deployments", registry=registry)
    async def see_deployment(event: kopf.RawEvent, **_: Any) -> None:
        if await targets.gate.passes():
            targets.keeper.see_deployment(event["object"], event["type"] == "DELETED")


def set_selectors(settings: kopf.OperatorSettings) -> None:
    """What the API server keeps out of the watches: ended Executions, and pods and Deployments of others."""
    settings.watching.field_selectors[GROUP, VERSION, EXECUTION_PLURAL] = names.UNFINISHED_SELECTOR
    settings.watching.label_selectors["", "v1", "pods"] = names.EXECUTOR_SELECTOR
    settings.watching.label_selectors["apps", "v1", "deployments"] = names.EXECUTOR_SELECTOR
