"""Leads the executors' reports to the leader: the one EndpointSlice of the controller's Service.

The Service has no selector, for every replica is Ready and only one of them takes reports. Why
readiness is not used for that: ``docs/decisions/0008-leadership.md``.
"""

import asyncio
from typing import Any, Final

from controller import names
from controller.clients.kube import KubeClient
from controller.errors import KubeError
from controller.logs import get_logger
from controller.settings import Settings

_AGAIN_S: Final = 30.0
_RETRY_S: Final = 0.5
logger = get_logger(__name__)


class Endpoint:
    """Publishes this pod's address while it leads; the next leader writes its own over it."""

    def __init__(self, kube: KubeClient, settings: Settings) -> None:
        self._kube = kube
        self._settings = settings

    async def run(self) -> None:
        """Publishes at once, and now and then again in case somebody has changed it, until cancelled."""
        path = names.endpoint_slice_path(self._settings.operator_namespace, self._settings.service_name)
        while True:
            pause_s = _AGAIN_S
            if self._settings.pod_ip:
                try:
                    await self._kube.apply(path, build_slice(self._settings))
                except KubeError as error:
                    logger.warning("executors cannot be led here; trying again", error=str(error))
                    pause_s = _RETRY_S
            await asyncio.sleep(pause_s)


def build_slice(settings: Settings) -> dict[str, Any]:
    """The EndpointSlice; it goes when the pod that it names goes."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": settings.pod_name, "uid": settings.pod_uid}
    target = {"kind": "Pod", "namespace": settings.operator_namespace, "name": settings.pod_name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{settings.service_name}-leader",
            "namespace": settings.operator_namespace,
            "labels": {
                "kubernetes.io/service-name": settings.service_name,
                "endpointslice.kubernetes.io/managed-by": names.COMPONENT_NAME,
            },
            "ownerReferences": [owner] if settings.pod_uid else [],
        },
        "addressType": "IPv6" if ":" in settings.pod_ip else "IPv4",
        "ports": [{"name": names.INTERNAL_API_PORT_NAME, "port": settings.internal_api_port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [settings.pod_ip], "conditions": {"ready": True}, "targetRef": target}],
    }
