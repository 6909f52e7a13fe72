"""What the kubelet says of a pod that it evicts, before the pod's status has it.

It sends an Event, then SIGTERM. The status keeps the eviction back until the pod's containers have ended (kubelet's
``pkg/kubelet/status``), and by then the executor has reported a crash, of which it knows only that it was told to end.
"""

import asyncio
from dataclasses import replace
from typing import Final

from controller import names
from controller.clients.kube import KubeClient
from controller.errors import KubeError
from controller.logs import get_logger
from controller.resources import Pod

_EVICTIONS: Final = frozenset({"Evicted", "Preempting"})
"""Reasons of the kubelet's Events: it makes room on its node, in general or for a critical pod."""
_WITHIN_S: Final = 1.0
"""An executor that ends has two seconds for its reports."""
logger = get_logger(__name__)


class Notices:
    """Reads Events of pods of the operator's namespace."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self._kube = kube
        self._path = names.core_path(namespace, "events")

    async def complete(self, pod: Pod) -> Pod:
        """The pod, and that it was evicted where the kubelet has said so."""
        if pod.evicted or pod.leaving:
            return pod
        try:
            async with asyncio.timeout(_WITHIN_S):
                return replace(pod, evicted=await self._find_eviction(pod))
        except (KubeError, TimeoutError) as error:
            logger.warning("the Events of a pod could not be read", pod=pod.name, error=str(error))
            return pod

    async def _find_eviction(self, pod: Pod) -> str:
        async for page in self._kube.list_pages(self._path, fieldSelector=f"involvedObject.uid={pod.uid}"):
            for event in page:
                if event.get("reason") in _EVICTIONS:
                    return str(event.get("message") or "the kubelet evicted the pod")
        return ""
