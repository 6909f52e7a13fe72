"""Renders the chart with the real helm, without a cluster."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
CHART = REPOSITORY / "deploy" / "helm" / "sandbox-executor"

NAMESPACE = "operator"
KUBERNETES_VERSION = "v1.34.0"

Manifest = dict[str, Any]
RunHelm = Callable[..., subprocess.CompletedProcess[str]]


class Rendered:
    """The objects of one rendering, found by kind and name."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self.manifests = manifests

    def all(self, kind: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind: str, name: str) -> Manifest:
        (found,) = [manifest for manifest in self.all(kind) if manifest["metadata"]["name"] == name]
        return found

    def pods(self) -> list[Manifest]:
        """The pod template of everything that makes pods."""
        return [manifest["spec"]["template"] for manifest in self.manifests if "template" in manifest.get("spec", {})]


class Render(Protocol):
    """``render("a.b=c", ...)``: the chart with these values, as ``--set-json`` takes them."""

    def __call__(
        self, *values: str, release: str = "sandbox-executor", version: str = KUBERNETES_VERSION, chart: Path = CHART
    ) -> Rendered: ...


def _helm_command() -> list[str]:
    """helm: the one that HELM names, or the one in PATH, where `make test-local` puts one."""
    found = os.environ.get("HELM") or shutil.which("helm")
    if not found:
        raise FileNotFoundError("helm is not in PATH: run `make test-local`, which builds it, or set HELM")
    return [found]


@pytest.fixture(scope="session")
def run_helm(tmp_path_factory: pytest.TempPathFactory) -> RunHelm:
    """Runs helm with folders of its own, and no way to any cluster."""
    command = _helm_command()
    home = tmp_path_factory.mktemp("helm")
    folders = {name: str(home / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
    environment = {**os.environ, **folders, "KUBECONFIG": str(home / "no-kubeconfig")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=200
        )

    return run


@pytest.fixture(scope="session")
def render(run_helm: RunHelm) -> Render:
    """Renders the chart, or fails with what helm said."""

    def template(
        *values: str, release: str = "sandbox-executor", version: str = KUBERNETES_VERSION, chart: Path = CHART
    ) -> Rendered:
        sets = [argument for value in values for argument in ("--set-json", value)]
        ended = run_helm("template", release, str(chart), "--namespace", NAMESPACE, "--kube-version", version, *sets)
        if ended.returncode != 0:
            raise RuntimeError(ended.stderr)
        return Rendered([manifest for manifest in yaml.safe_load_all(ended.stdout) if manifest])

    return template


@pytest.fixture(scope="session")
def chart(render: Render) -> Rendered:
    """The chart with its default values."""
    return render()
