"""Writes facts into ``.status``: one fold, one write, guarded by the resourceVersion that was read.

The whole status is replaced, not merge-patched: a JSON merge patch cannot carry a null
inside ``returnValue`` (RFC 7386 takes it as a removal). See ``docs/decisions/0005-controller.md``.
"""

import asyncio
from enum import Enum
from typing import Any, Final

from contracts.execution import TERMINAL_PHASES, ExecutionStatus
from contracts.kube import API_VERSION, EXECUTION_KIND
from controller import names, reported
from controller.clients.kube import KubeClient
from controller.errors import KubeConflict, KubeNotFound, KubeTooLarge, KubeUnavailable
from controller.facts import (
    Cancelled,
    Claimed,
    ContainerLost,
    Fact,
    HeartbeatSeen,
    Reclaimed,
    Refused,
    Relayed,
    ResultSeen,
    Waits,
)
from controller.logs import get_logger
from controller.resources import Execution, parse_execution
from controller.status import RETRYING, SCHEDULED, advance, condition_of
from controller.storable import MAX_CUTS, cut
from controller.tracking import Tracked

_BACKOFF_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
logger = get_logger(__name__)


class Written(Enum):
    """What became of a fact."""

    YES = "written"
    NO = "changes nothing"
    GONE = "the object is gone"


class StatusWriter:
    """The only writer of Executions' status. ``relays``: an end is marked as still to be told to a Control Plane."""

    def __init__(self, kube: KubeClient, *, relays: bool = False) -> None:
        self._kube = kube
        self._relays = relays

    async def record(self, tracked: Tracked, fact: Fact) -> Written:
        """Folds a fact into the status and writes it; tries until the API server has answered.

        What is too long for etcd is cut (``storable``). Where not even the least has room, the object is as good as
        gone: it could hold neither a claim nor an end, and would keep its slot for ever.
        """
        async with tracked.lock:
            tries = cuts = 0
            while True:
                if tracked.deleted:
                    return Written.GONE
                execution = tracked.execution
                after = self._advance(execution, fact)
                if after is None:
                    return Written.YES if _is_ours(execution.status, fact) else Written.NO
                if isinstance(fact, Claimed | Reclaimed) and (tracked.stop_wanted or tracked.execution.deleting):
                    return Written.NO
                try:
                    after = cut(after, cuts)
                    tracked.written(after, await self._kube.replace_status(_path(execution), _body(execution, after)))
                    return Written.YES
                except KubeNotFound:
                    tracked.deleted = True
                except KubeTooLarge:
                    cuts += 1
                    if cuts > MAX_CUTS and isinstance(fact, HeartbeatSeen | Waits | Relayed):
                        return Written.NO
                    tracked.no_room = tracked.deleted = cuts > MAX_CUTS
                except KubeConflict:
                    await self.refresh(tracked)
                except KubeUnavailable as error:
                    logger.warning("the API server did not take a status", error=str(error), tries=tries)
                    await asyncio.sleep(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)])
                    tries += 1

    def _advance(self, execution: Execution, fact: Fact) -> ExecutionStatus | None:
        after = advance(execution.status, fact, execution.generation)
        if after is None or isinstance(fact, Relayed) or not self._relays or after.phase not in TERMINAL_PHASES:
            return after
        return advance(after, reported.begin(after, fact.time), execution.generation)

    async def refresh(self, tracked: Tracked) -> None:
        """Reads the object anew; marks it deleted when it is gone or another one has taken its name."""
        tries = 0
        while True:
            try:
                execution = parse_execution(await self._kube.get(_path(tracked.execution)))
            except KubeNotFound:
                tracked.deleted = True
                return
            except KubeUnavailable as error:
                logger.warning("the API server did not answer a read", error=str(error), tries=tries)
                await asyncio.sleep(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)])
                tries += 1
                continue
            if execution.uid != tracked.uid:
                tracked.deleted = True
                return
            tracked.execution = execution
            tracked.stop_wanted = tracked.stop_wanted or execution.spec.cancel
            return


def _is_ours(status: ExecutionStatus, fact: Fact) -> bool:
    """Whether the fact is already there because an earlier try was taken and only its answer was lost."""
    match fact:
        case Claimed():
            return (status.phase, status.attempt, status.pod_name, status.start_time) == (
                "Running",
                fact.attempt,
                fact.pod_name,
                fact.time,
            )
        case Reclaimed():
            return (status.phase, status.attempt, status.start_time) == ("Running", fact.attempt, fact.time)
        case ResultSeen(retry=True) | ContainerLost(retry=True):
            scheduled = condition_of(status, SCHEDULED)
            retried = scheduled is not None and scheduled.reason == RETRYING
            return retried and scheduled is not None and scheduled.last_transition_time == fact.time
        case Refused() | Cancelled() | ResultSeen() | ContainerLost():
            return status.completion_time == fact.time
    return False


def _path(execution: Execution) -> str:
    return names.execution_path(execution.namespace, execution.name)


def _body(execution: Execution, status: ExecutionStatus) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": EXECUTION_KIND,
        "metadata": {
            "name": execution.name,
            "namespace": execution.namespace,
            "uid": execution.uid,
            "resourceVersion": execution.resource_version,
        },
        "status": status.to_kube(),
    }
