"""A real API server with our resources; the test plays the controller."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contracts.kube import EXECUTION_PLURAL, GROUP, VERSION
from sandbox_executor_client import AsyncClient
from tests.integration.controller.apiserver import ApiServer, apply_crds

TENANT = "default"
_PATH = f"/apis/{GROUP}/{VERSION}/namespaces/{TENANT}/{EXECUTION_PLURAL}"


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path_factory.mktemp("apiserver"), extra_user="nobody")
    try:
        server.start()
        apply_crds(server)
        yield server
    finally:
        server.stop()


@pytest.fixture
async def client(api_server: ApiServer) -> AsyncIterator[AsyncClient]:
    """As an administrator of one namespace; what it leaves there is removed."""
    async with AsyncClient(TENANT, kubeconfig=str(api_server.kubeconfig)) as opened:
        yield opened
    for item in api_server.request("GET", _PATH)["items"]:
        api_server.request("DELETE", f"{_PATH}/{item['metadata']['name']}")


@pytest.fixture
def stranger(api_server: ApiServer, tmp_path: Path) -> str:
    """The kubeconfig of somebody who has no rights."""
    path = tmp_path / "kubeconfig"
    api_server.write_kubeconfig(path, api_server.extra_token)
    return str(path)


def end(server: ApiServer, name: str, phase: str = "Succeeded", **status: Any) -> None:
    """Writes the end of an Execution, as the controller does."""
    found = server.request("GET", f"{_PATH}/{name}")
    reason = {"Succeeded": "Completed", "Failed": "NonZeroExit"}.get(phase, phase)
    now = datetime.now(UTC).isoformat()
    condition = {"type": "Finished", "status": "True", "reason": reason, "message": "said", "lastTransitionTime": now}
    found["status"] = {"phase": phase, "conditions": [condition], **status}
    server.request("PUT", f"{_PATH}/{name}/status", found)


def annotations(server: ApiServer, name: str) -> dict[str, str]:
    """An Execution's annotations, as the API server has them."""
    found: dict[str, str] = server.request("GET", f"{_PATH}/{name}")["metadata"].get("annotations", {})
    return found
