"""Every block of the documentation that needs a cluster, page by page, as a reader with a namespace of their own."""

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.e2e.chart import put_back
from tests.e2e.cluster import (
    CONTROLLER,
    EXECUTOR_PODS,
    RELEASE,
    REPOSITORY,
    SCRIPTS,
    SYSTEM_NAMESPACE,
    Object,
    Tenant,
    Tools,
    eventually,
)
from tests.e2e.victims import is_whole, make_pool
from tests.integration.docs.commands import blocks_of, is_shown, pages_with, run_blocks, without_measures, written_out

_TIMEOUT_S: Final = 400
_LEFT_BEHIND: Final[Mapping[str, tuple[str, ...]]] = {
    "control-plane.md": ("delete", "secret", "control-plane", "-n", SYSTEM_NAMESPACE, "--ignore-not-found"),
    "operations.md": ("scale", "epool", "default", "--replicas=2"),
    "monitoring.md": ("delete", "crd", "-l", "e2e=documentation"),
}
"""kubectl's words that take back what a page has done beside the release's values."""
_END: Final = "import os\nos.kill(1, 15)\n"
_MONITORS: Final = {
    "ServiceMonitor": "servicemonitors",
    "PodMonitor": "podmonitors",
    "PrometheusRule": "prometheusrules",
}


@pytest.fixture(params=pages_with("cluster"), ids=lambda page: page.stem)
def page(request: pytest.FixtureRequest) -> Path:
    """Each page with such blocks that names no test of its own."""
    found: Path = request.param
    return found


@pytest.fixture
def release(request: pytest.FixtureRequest, installed: Tools, page: Path) -> Iterator[Tools]:
    """The release; what a page changes of it and beside it is taken back."""
    words = ("get", "values", RELEASE, "--namespace", SYSTEM_NAMESPACE, "-o", "json")
    before = installed.helm(*words)
    yield installed
    if installed.helm(*words) != before:
        put_back(installed, request.config)
    if page.name in _LEFT_BEHIND:
        installed.kubectl(*_LEFT_BEHIND[page.name])
    eventually(lambda: is_whole(installed, "default"), timeout_s=240, interval_s=1)


@pytest.mark.timeout(1500)
def test_the_commands_of_a_page_do_what_it_says(
    page: Path, tenant: Tenant, pool_name: str, release: Tools, tmp_path: Path
) -> None:
    blocks = blocks_of(page, "cluster")
    commands = "".join(block.commands for block in blocks)
    _prepare(commands, tenant)
    pool = _restarted_pool(release, pool_name) if "--previous" in commands else "default"
    words = {
        "NAME": "hello",
        "NAMESPACE": tenant.namespace,
        "POOL": pool,
        "POD": _pods(release, pool)[0],
        "team-a": tenant.namespace,
        "tenant-a": tenant.namespace,
    }
    done = run_blocks(
        [written_out(block, words) for block in blocks],
        _TIMEOUT_S,
        folder=_checkout(tmp_path),
        environment=make_environment(release, tenant, tmp_path),
    )
    assert len(done) == len(blocks)
    for block, result in zip(blocks, done, strict=True):
        assert result.exit_code == 0, f"{block.where}: {result.output}"
        shown, printed = without_measures(block.output or "…"), without_measures(result.output)
        assert is_shown(shown, printed), f"{block.where}: {result.output}"
    if "helm upgrade" in commands:
        rollout = ("rollout", "status", f"deployment/{CONTROLLER}", "-n", SYSTEM_NAMESPACE, "--timeout=240s")
        release.kubectl(*rollout, timeout_s=250)


def make_environment(tools: Tools, tenant: Tenant, folder: Path) -> dict[str, str]:
    """kubectl and helm in PATH, and a kubeconfig whose namespace is the tenant's."""
    config = yaml.safe_load(tools.kubectl("config", "view", "--raw", "--minify"))
    config["contexts"][0]["context"]["namespace"] = tenant.namespace
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    tool_folders = {str(Path(tool).parent) for tool in (tools.kubectl_path, tools.helm_path) if os.sep in tool}
    paths = [str(SCRIPTS), *tool_folders, os.environ["PATH"]]
    return {"KUBECONFIG": str(path), "PATH": os.pathsep.join(paths), "TOKEN": secrets.token_hex(16)}


def _checkout(folder: Path) -> Path:
    """A folder in which the pages find what they name of a checkout, and may write."""
    for name in ("deploy", "examples"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


def _prepare(commands: str, tenant: Tenant) -> None:
    """What a page takes for granted: an Execution ``hello`` that has ended, and Prometheus's kinds of objects."""
    if "examples/hello.yaml" not in commands:
        tenant.apply(yaml.safe_load((REPOSITORY / "examples/hello.yaml").read_text()))
        tenant.finished("hello")
    if "serviceMonitor" in commands:
        definitions = [_definition(kind, plural) for kind, plural in _MONITORS.items()]
        tenant.tools.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(definitions))
        names = [f"crd/{definition['metadata']['name']}" for definition in definitions]
        tenant.tools.kubectl("wait", "--for=condition=Established", *names, "--timeout=120s")


def _definition(kind: str, plural: str) -> Object:
    """A kind of the Prometheus operator's that takes everything."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com", "labels": {"e2e": "documentation"}},
        "spec": {
            "group": "monitoring.coreos.com",
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _pods(tools: Tools, pool: str) -> list[str]:
    found = tools.pods(f"{EXECUTOR_PODS},sandbox-executor.dev/pool={pool}")
    return [pod["metadata"]["name"] for pod in found]


def _restarted_pool(tools: Tools, name: str) -> str:
    """A pool whose container has ended and begun again, so that it has a run before to be asked for."""
    make_pool(tools, name)
    (pod,) = _pods(tools, name)
    tools.kubectl("exec", "-n", SYSTEM_NAMESPACE, pod, "--", "python3", "-c", _END, check=False)  # it ends under it

    def is_back() -> bool:
        container = tools.get("pod", pod, SYSTEM_NAMESPACE)["status"]["containerStatuses"][0]
        return bool(container["restartCount"] and container["ready"]) and is_whole(tools, name)

    eventually(is_back, timeout_s=180, interval_s=0.5)
    return name
