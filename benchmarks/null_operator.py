"""The floor under the way of a CR: a kopf operator that patches the status twice and does nothing else.

A file of its own that needs nothing beside it but what the controller's image has, so that it runs there, too
(``null_kind`` has its kind and its pod). Ends by SIGTERM.
"""

import asyncio
from typing import Any

import kopf

from contracts.kube import GROUP, VERSION
from controller.clients.kube import load_configuration
from controller.watches import open_session

NULL_GROUP = f"null.{GROUP}"
PLURAL = "nullexecutions"
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_TIME = "2026-01-01T00:00:00Z"


def collection_path(namespace: str) -> str:
    """Where NullExecutions are listed."""
    return f"/apis/{NULL_GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"


def _condition(kind: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": "Completed", "message": "", "lastTransitionTime": _TIME}


async def run() -> None:
    """Watches and patches, until the process is told to end."""
    configuration = await load_configuration()
    registry = kopf.OperatorRegistry()
    session = (await open_session(configuration)).aiohttp_session
    headers = {"Content-Type": "application/merge-patch+json", "Accept": _METADATA_ONLY}

    async def patch(body: kopf.RawBody, status: dict[str, Any]) -> None:
        metadata = body["metadata"]
        url = f"{configuration.host}{collection_path(metadata['namespace'])}/{metadata['name']}/status"
        async with session.patch(url, json={"status": status}, headers=headers) as answer:
            answer.raise_for_status()
            await answer.read()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        return await open_session(configuration)

    @kopf.on.event(NULL_GROUP, VERSION, PLURAL, registry=registry)
    async def see(event: kopf.RawEvent, **_: Any) -> None:
        body = event["object"]
        if event["type"] == "DELETED" or body.get("status"):
            return
        await patch(body, {"phase": "Running"})
        await patch(body, {"phase": "Succeeded", "conditions": [_condition("Finished"), _condition("Succeeded")]})

    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    async with session:
        await kopf.operator(registry=registry, settings=settings, standalone=True, clusterwide=True)


if __name__ == "__main__":
    asyncio.run(run())
