"""One API server for the module's tests, one controller process, and executors that record."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from controller import names
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.apiserver import ApiServer, apply_crds, free_port
from tests.integration.controller.cluster import NAMESPACE, TENANT, Cluster, Controller, grant_rights
from tests.integration.controller.service import Service
from tests.objects import TestStore, open_folder, run_s3

_USER = "controller"
_LIMIT_S = 600
"""For each test: it only ends what hangs, and the first one starts the API server."""
POD_IP = "10.9.9.9"
"""Of replicas: an EndpointSlice holds no loopback address. ``Service`` looks at its port."""
StartExecutor = Callable[..., Awaitable[FakeExecutor]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starting and stopping controllers takes a busy machine longer than most tests are given."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LIMIT_S))


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestStore]:
    """Each kind of object store."""
    with (open_folder if request.param == "folder" else run_s3)(tmp_path) as made:
        yield made


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[TestStore]:
    """A real S3 server."""
    with run_s3(tmp_path) as made:
        yield made


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
        await cluster.call("DELETE", names.executions_path(namespace), {"gracePeriodSeconds": 0})
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


@pytest.fixture
async def pair(api_server: ApiServer, controller: Controller, tmp_path: Path) -> AsyncIterator[list[Controller]]:
    """A leader and a standby that share their keys, as the pods of one Deployment do; the shared controller pauses."""
    await controller.stop()
    made: list[Controller] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(make_controller(api_server, tmp_path / name))
    first, second = made
    second.internal_token, second.execute_token = first.internal_token, first.execute_token
    second.report_key = first.report_key
    try:
        await start_replica(first, "leader")
        await start_replica(second, "standby")
        yield made
    finally:
        for process in made:
            if process.process is not None:
                with suppress(ProcessLookupError):
                    process.signal(signal.SIGCONT)
                await process.stop(kill=True)
        await controller.start()


async def start_replica(process: Controller, role: str, **settings: str) -> None:
    """In a pod of its own, by the name of its folder."""
    await process.start(role=role, POD_NAME=f"controller-{process.folder.name}", POD_IP=POD_IP, **settings)


@pytest.fixture
async def service(api_server: ApiServer, pair: list[Controller]) -> AsyncIterator[Service]:
    async with Service(api_server) as made:
        yield made
