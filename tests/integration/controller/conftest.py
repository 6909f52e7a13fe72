"""One API server for the module's tests, one controller process, and executors that record."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from controller import names
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.apiserver import ApiServer, apply_crds, free_port
from tests.integration.controller.cluster import NAMESPACE, TENANT, Cluster, Controller, grant_rights

_USER = "controller"
StartExecutor = Callable[..., Awaitable[FakeExecutor]]


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path_factory.mktemp("apiserver"), extra_user=_USER)
    try:
        server.start()
        apply_crds(server)
        grant_rights(server, _USER)
        yield server
    finally:
        server.stop()


@pytest.fixture
async def cluster(api_server: ApiServer) -> AsyncIterator[Cluster]:
    """The cluster; what a test leaves in it is removed."""
    cluster = Cluster(api_server)
    yield cluster
    for namespace in (TENANT, "with-secrets"):
        found = await cluster.call("GET", names.executions_path(namespace))
        for item in found["items"]:
            await cluster.delete(names.execution_path(namespace, item["metadata"]["name"]))
    for path in (names.pools_path(), names.core_path(NAMESPACE, "pods"), names.deployments_path(NAMESPACE)):
        for item in (await cluster.call("GET", path))["items"]:
            await cluster.delete(f"{path}/{item['metadata']['name']}")


@pytest.fixture(scope="session")
def controller(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """A running controller that the tests share, with the rights that the chart gives."""
    process = make_controller(api_server, tmp_path_factory.mktemp("controller"))
    process.start_blocking()
    try:
        yield process
    finally:
        process.stop_blocking()


@pytest.fixture
async def own_controller(api_server: ApiServer, controller: Controller, tmp_path: Path) -> AsyncIterator[Controller]:
    """A controller of the test's own, which it may stop and start; the shared one pauses meanwhile."""
    await controller.stop()
    process = make_controller(api_server, tmp_path)
    try:
        await process.start()
        yield process
    finally:
        if process.process is not None:
            await process.stop(kill=True)
        await controller.start()


def make_controller(server: ApiServer, folder: Path) -> Controller:
    """A controller in a folder of its own, not started."""
    kubeconfig = folder / "kubeconfig"
    server.write_kubeconfig(kubeconfig, server.extra_token)
    return Controller(folder, server, kubeconfig, free_port(), free_port())


@pytest.fixture
async def start_executor(
    request: pytest.FixtureRequest, controller: Controller, cluster: Cluster
) -> AsyncIterator[StartExecutor]:
    """Starts a recording executor and the pod that stands for it."""
    serving = request.getfixturevalue("own_controller") if "own_controller" in request.fixturenames else controller
    async with AsyncExitStack() as stack:

        async def start(
            pod: str = "pod-1", pool: str = "default", concurrency: int = 4, **options: object
        ) -> FakeExecutor:
            fake = FakeExecutor(control_plane_url=serving.url, **options)  # type: ignore[arg-type]
            await stack.enter_async_context(fake)
            await cluster.add_pod(pod, pool, fake.port, concurrency)
            return fake

        yield start
