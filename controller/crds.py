"""``python -m controller.crds apply|delete``: the CustomResourceDefinitions of this version, brought to the API server.

Helm makes what is in a chart's ``crds/`` once and never touches it again. So the chart runs this before each upgrade,
as a Job with rights of its own for that minute (docs/decisions/0023-crd-upgrades.md); the controller itself has none.
The definitions are those that this very image was built with: they fit the controller that follows.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from contracts.crd import execution_crd, pool_crd
from controller.clients.kube import KubeClient, load_configuration
from controller.errors import KubeError, KubeNotFound, KubeUnavailable, SettingsError
from controller.logs import configure_logs, get_logger

_PATH: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_PATIENCE_S: Final = 60.0
"""For an API server that does not answer, or does not serve a new definition yet; the Job has 120 s."""
_LOOK_AGAIN_S: Final = 0.5
logger = get_logger(__name__)


async def apply(kube: KubeClient) -> None:
    """Makes each definition what this version needs, whoever made it; returns once the API server serves them.

    Raises:
        KubeError: the API server refuses, or is not there for a minute.
    """
    for definition in (execution_crd(), pool_crd()):
        path = _path(definition)
        await _tried(partial(kube.apply, path, definition))
        await _served(kube, path)
        logger.info("the definition is the one of this version", crd=definition["metadata"]["name"])


async def delete(kube: KubeClient) -> None:
    """Deletes the definitions and, with them, every Execution and pool.

    Raises:
        KubeError: the API server refuses, or is not there for a minute.
    """
    for definition in (execution_crd(), pool_crd()):
        path = _path(definition)
        try:
            found = await _tried(partial(kube.get, path))
            await kube.delete(path, found["metadata"]["uid"])
        except KubeNotFound:
            continue
        logger.info("the definition is deleted", crd=definition["metadata"]["name"])


def _path(definition: Mapping[str, Any]) -> str:
    return f"{_PATH}/{definition['metadata']['name']}"


async def _tried(call: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """What the call gives, once the API server answers."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return await call()
        except KubeUnavailable as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("the API server does not answer", error=str(error))
            await asyncio.sleep(_LOOK_AGAIN_S)


async def _served(kube: KubeClient, path: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        found = await _tried(partial(kube.get, path))
        conditions = {item["type"]: item for item in (found.get("status") or {}).get("conditions") or ()}
        if conditions.get("Established", {}).get("status") == "True":
            return
        if time.monotonic() > deadline:
            told = "; ".join(f"{name}: {item.get('message', '')}" for name, item in conditions.items())
            raise KubeError(0, "NotEstablished", f"{path} is not served after {_PATIENCE_S:.0f} s: {told or 'no word'}")
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _run(step: Callable[[KubeClient], Awaitable[None]]) -> None:
    kube = KubeClient(await load_configuration())
    try:
        await step(kube)
    finally:
        await kube.close()


def main() -> int:
    """1 when the API server refuses, 2 when it is called wrongly; one line says what and why."""
    steps = {"apply": apply, "delete": delete}
    if len(sys.argv) != 2 or sys.argv[1] not in steps:
        print("usage: python -m controller.crds apply|delete", file=sys.stderr)
        return 2
    configure_logs("INFO")
    try:
        asyncio.run(_run(steps[sys.argv[1]]))
    except SettingsError as error:
        print(f"controller.crds: {error}", file=sys.stderr)
        return 2
    except KubeError as error:
        print(f"controller.crds: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
