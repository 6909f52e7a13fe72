"""A real cluster with the chart installed, and a namespace for each test.

With ``--cluster=kind`` (the default) the tests run inside ``python -m devcluster run --``, and pytest-kind's
KindCluster creates the cluster or takes the one that is there. With ``--cluster=current`` everything happens
on the cluster that KUBECONFIG names, which must be able to get the two images.
"""

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.chart import chart_words
from tests.e2e.cluster import EXECUTOR_PODS, RELEASE, REPOSITORY, SYSTEM_NAMESPACE, Tenant, Tools, eventually
from tests.e2e.control_plane import ControlPlane, listening
from tests.e2e.leaders import is_redundant

if TYPE_CHECKING:
    from devcluster.cluster import Cluster

InNode = Callable[..., str]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--cluster") == "current":
        out = [item for item in items if "own_cluster" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]
    if config.getoption("--cluster") == "current" and config.getoption("--audit-log") is None:
        out = [item for item in items if "secret_events" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]
    for item in items:
        if "tests/e2e" in item.nodeid:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(900))
    items.sort(key=lambda item: "installed" in getattr(item, "fixturenames", ()) and "tests/e2e" in item.nodeid)


@pytest.fixture(scope="session")
def tools(request: pytest.FixtureRequest) -> Iterator[Tools]:
    """kubectl and helm on a cluster that is up and holds the images."""
    if request.config.getoption("--cluster") == "current":
        yield Tools()
        return
    from pytest_kind import KindCluster

    from devcluster.cache import locked
    from devcluster.cluster import Cluster

    cluster = Cluster.current()
    with locked(cluster.layout.lock.with_name(f"e2e-{cluster.layout.ident}.lock"), "the end-to-end tests"):
        begun, existed = cluster.layout.state / "e2e-begun", cluster.exists()
        kind = KindCluster(cluster.name, cluster.kubeconfig, **cluster.kind_arguments())
        if existed and begun.exists():
            kind.delete()  # a run that was killed: what it had drained, tainted, set up or cut off is nowhere written
        begun.touch()
        kind.create(cluster.kind_config)
        cluster.finish()
        images = [request.config.getoption("--executor-image"), request.config.getoption("--controller-image")]
        subprocess.run([sys.executable, "-m", "devcluster", "load-image", *images], check=True, cwd=REPOSITORY)
        yield Tools(str(cluster.kubectl_path), str(cluster.helm_path))
        kind.api.session.close()
        if not existed and not request.config.getoption("keep_cluster"):
            kind.delete()
        begun.unlink()


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest, tools: Tools) -> Iterator[Tools]:
    """The chart, with a default pool of two pods with four slots each, ready."""
    namespace = ("namespace", SYSTEM_NAMESPACE)
    phase = tools.kubectl("get", *namespace, "--ignore-not-found", "-o", "jsonpath={.status.phase}")
    if phase == "Terminating":  # of the run before
        tools.kubectl("wait", "--for=delete", "/".join(namespace), "--timeout=170s")
    tools.kubectl("apply", "-f", "-", stdin=_NAMESPACE)
    tools.helm(*chart_words(request.config))
    eventually(lambda: len(_ready(tools)) == 2, timeout_s=240, interval_s=1)
    yield tools
    tools.helm("uninstall", RELEASE, "--namespace", SYSTEM_NAMESPACE, "--wait")
    tools.kubectl("delete", "namespace", SYSTEM_NAMESPACE, "--wait=false")


def _ready(tools: Tools) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in tools.pods(EXECUTOR_PODS)
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]


_NAMESPACE = f"""
apiVersion: v1
kind: Namespace
metadata:
  name: {SYSTEM_NAMESPACE}
  labels: {{pod-security.kubernetes.io/enforce: privileged}}
"""


@pytest.fixture(scope="module")
def control_plane(request: pytest.FixtureRequest, installed: Tools) -> Iterator[ControlPlane]:
    """A Control Plane that listens, and the release told of it; it has heard of no end of a container run twice."""
    with listening(installed, request.config) as found:
        yield found
        found.assert_one_exit_a_run()


@pytest.fixture(scope="session")
def own_cluster(tools: Tools) -> "Cluster":
    """The cluster that is ours to break; what needs it is left out on another."""
    from devcluster.cluster import Cluster

    return Cluster.current()


@pytest.fixture
def in_node(own_cluster: "Cluster", installed: Tools) -> InNode:
    """Runs a command on one of our cluster's nodes."""
    return own_cluster.in_node


@pytest.fixture
def two_replicas(installed: Tools) -> Iterator[None]:
    """Before and after the test a controller that leads and one that stands by."""
    eventually(lambda: is_redundant(installed), timeout_s=180, interval_s=0.5)
    yield
    eventually(lambda: is_redundant(installed), timeout_s=180, interval_s=0.5)


@pytest.fixture
def tenant(installed: Tools) -> Iterator[Tenant]:
    """A new namespace, deleted afterwards with everything in it."""
    with new_tenant(installed) as found:
        yield found


@contextmanager
def new_tenant(tools: Tools) -> Iterator[Tenant]:
    """The same for as long as the block lasts."""
    namespace = f"e2e-{secrets.token_hex(4)}"
    tools.kubectl("create", "namespace", namespace)
    yield Tenant(tools, namespace)
    tools.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def pool_name(installed: Tools) -> Iterator[str]:
    """A name for a pool that the test may create; the pool is deleted afterwards."""
    name = f"pool-{secrets.token_hex(4)}"
    yield name
    installed.kubectl("delete", "executorpool", name, "--ignore-not-found", "--wait=false")
