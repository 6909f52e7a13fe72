"""One API server that aggregates, one log API, for all tests here."""

import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controller import names
from sandbox_executor_client import AsyncClient
from tests.certificates import CLIENT, SERVER, make_authority, sign
from tests.fakes.output import OutputExecutor
from tests.integration.controller.apiserver import ApiServer, apply_crds, free_port
from tests.integration.controller.cluster import NAMESPACE
from tests.integration.log_api.parts import (
    LOG_API_USER,
    OTHER,
    OWN,
    REQUEST_TIMEOUT_S,
    SERVICE,
    TENANT_USER,
    Aggregated,
    LogApiProcess,
    grant,
    make_api_service,
)
from tests.objects import TestStore, run_s3


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStore]:
    with run_s3(tmp_path_factory.mktemp("objects")) as made:
        yield made


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, store: TestStore) -> Iterator[Aggregated]:
    folder = tmp_path_factory.mktemp("aggregated")
    front_proxy_ca, serving_ca = make_authority(folder, "front-proxy-ca"), make_authority(folder, "serving-ca")
    front_proxy = sign(front_proxy_ca, "front-proxy-client", CLIENT)
    server = ApiServer(
        folder,
        extra_user=LOG_API_USER,
        users={TENANT_USER: secrets.token_hex(16)},
        arguments=(
            f"--requestheader-client-ca-file={front_proxy_ca.certificate}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--request-timeout={REQUEST_TIMEOUT_S}s",
            f"--proxy-client-cert-file={front_proxy.certificate}",
            f"--proxy-client-key-file={front_proxy.key}",
        ),
    )
    serving = sign(serving_ca, SERVICE, SERVER, f"subjectAltName=DNS:{SERVICE}.{NAMESPACE}.svc")
    kubeconfig = folder / "log-api.kubeconfig"
    ports = (free_port(), free_port())
    log_api = LogApiProcess(folder, kubeconfig, serving, secrets.token_hex(16), *ports, store.settings)
    try:
        server.start()
        apply_crds(server)
        grant(server)
        server.write_kubeconfig(kubeconfig, server.extra_token)
        # The one kind of Service that the API server takes to a loopback address.
        service = {"metadata": {"name": SERVICE}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
        server.request("POST", names.core_path(NAMESPACE, "services"), service)
        log_api.start()
        bundle = base64.b64encode(serving_ca.certificate.read_bytes()).decode()
        server.request("POST", "/apis/apiregistration.k8s.io/v1/apiservices", make_api_service(bundle, log_api.port))
        wrong_name = sign(front_proxy_ca, "somebody-else", CLIENT)
        stranger = sign(make_authority(folder, "stranger-ca"), "front-proxy-client", CLIENT, name="stranger")
        yield Aggregated(server, log_api, front_proxy, wrong_name, stranger, store)
    finally:
        if log_api.process is not None:
            log_api.stop()
        server.stop()


@pytest.fixture
async def cluster(served: Aggregated) -> AsyncIterator[Aggregated]:
    """With the group available and nobody who follows; what a test leaves is removed."""
    await served.wait_available("True")
    await served.wait_until_nobody_follows()
    yield served
    for namespace in (OWN, OTHER):
        for item in (await served.call("GET", names.executions_path(namespace)))["items"]:
            await served.remove(names.execution_path(namespace, item["metadata"]["name"]))
    for item in (await served.call("GET", names.core_path(NAMESPACE, "pods")))["items"]:
        await served.remove(names.core_path(NAMESPACE, "pods", item["metadata"]["name"]))


@pytest.fixture
async def executor(cluster: Aggregated) -> AsyncIterator[OutputExecutor]:
    """An executor on ``pod-1``."""
    async with OutputExecutor(cluster.log_api.token) as made:
        await cluster.add_pod("pod-1", made.port)
        yield made


@pytest.fixture
def kubeconfig(cluster: Aggregated, tmp_path: Path) -> Path:
    """Of somebody who may read output in ``OWN``."""
    path = tmp_path / "kubeconfig"
    cluster.server.write_kubeconfig(path, cluster.server.users[TENANT_USER])
    return path


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[AsyncClient]:
    """Theirs."""
    async with AsyncClient(OWN, kubeconfig=str(kubeconfig)) as opened:
        yield opened
