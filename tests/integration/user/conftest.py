"""What a user touches, on the real thing but for the kubelet: API server, controller, executor, bubblewrap.

The user is a tenant: rights on Executions in one namespace, and none on pools.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller import names
from tests.integration.controller.apiserver import ROOT, ApiServer, apply_crds, free_port
from tests.integration.controller.cluster import NAMESPACE, Cluster, Controller
from tests.integration.executor.running import open_directory, run_executor
from tests.patience import PATIENCE_S

TENANT = "team-a"
_USER = "ada"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Whole:
    """An API server, a controller that leads, and an executor of two slots in the pool ``default``."""

    server: ApiServer
    admin: Path
    """Kubeconfig of who may do everything, in the namespace of the tenant."""
    tenant: Path
    """Kubeconfig of who may use Executions in ``TENANT``."""


@dataclass(frozen=True)
class Ran:
    """What a command printed, and how it ended."""

    exit_code: int
    stdout: str
    stderr: str


RunCli = Callable[..., Ran]


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path_factory.mktemp("apiserver"), extra_user=_USER)
    try:
        server.start()
        apply_crds(server)
        for namespace in (NAMESPACE, TENANT):
            server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        _grant(server)
        yield server
    finally:
        server.stop()


def _grant(server: ApiServer) -> None:
    """The rights of the chart's tenant roles on Executions, in one namespace."""
    verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
    rules = [{"apiGroups": ["sandbox-executor.dev"], "resources": ["executions"], "verbs": verbs}]
    path = f"{_RBAC}/namespaces/{TENANT}"
    server.request("POST", f"{path}/roles", {"metadata": {"name": _USER}, "rules": rules})
    group = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": _USER},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": _USER},
        "subjects": [{"kind": "User", "name": _USER, "apiGroup": group}],
    }
    server.request("POST", f"{path}/rolebindings", binding)


@pytest.fixture(scope="session")
def whole(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("user")
    tenant, admin = folder / "tenant", folder / "admin"
    for path, token in ((tenant, api_server.extra_token), (admin, api_server.token)):
        api_server.write_kubeconfig(path, token)
        path.write_text(path.read_text().replace("cluster: test\n", f"cluster: test\n    namespace: {TENANT}\n", 1))
    controller = Controller(folder, api_server, api_server.kubeconfig, free_port(), free_port())
    controller.start_blocking()
    try:
        with (
            open_directory() as directory,
            run_executor(directory, **controller.executor_environment("pod-1")) as executor,
        ):
            asyncio.run(_add_pool(Cluster(api_server), executor.port))
            yield Whole(api_server, admin, tenant)
    finally:
        controller.stop_blocking()


async def _add_pool(cluster: Cluster, port: int) -> None:
    await cluster.create_pool("default")
    await cluster.add_pod("pod-1", "default", port, concurrency=2)


@pytest.fixture
def cli(tmp_path: Path) -> RunCli:
    """Runs a console script as a user would, in a folder of its own; a pipe is its terminal."""

    def run(
        *words: str | Path,
        script: str = "sandbox-run",
        stdin: str = "",
        kubeconfig: Path | None = None,
        timeout_s: float = 2 * PATIENCE_S,
        **environment: str,
    ) -> Ran:
        command = [str(Path(sys.executable).with_name(script)), *map(str, words)]
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "KUBECONFIG": str(kubeconfig or tmp_path / "no-kubeconfig"),
                "ISOLATION_MODE": "best-effort",
                **environment,
            },
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def tenant_cli(cli: RunCli, whole: Whole) -> Iterator[RunCli]:
    """The same as the tenant; what it leaves in the namespace is removed."""

    def run(*words: str | Path, **options: str) -> Ran:
        return cli(*words, kubeconfig=whole.tenant, **options)

    yield run
    path = names.executions_path(TENANT)
    for item in whole.server.request("GET", path)["items"]:
        whole.server.request("DELETE", f"{path}/{item['metadata']['name']}")


EXAMPLES = ROOT / "examples"
