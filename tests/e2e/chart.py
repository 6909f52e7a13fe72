"""The chart as the tests install it, and changed for as long as a few of them need it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.cluster import DEFAULT_PODS, RELEASE, REPOSITORY, SYSTEM_NAMESPACE, Tools, condition, eventually

INSTALLER_PODS = "app.kubernetes.io/component=seccomp-installer"


def chart_words(config: pytest.Config) -> list[str]:
    """The helm command that installs or upgrades the chart as the tests want it."""
    return [
        *("upgrade", "--install", RELEASE, str(REPOSITORY / "deploy/helm/sandbox-executor")),
        *("--namespace", SYSTEM_NAMESPACE, "--wait", "--timeout", "6m"),
        *("--set", "defaultPool.replicas=2", "--set", "defaultPool.concurrency=4"),
        *("--set", "defaultPool.resources.requests.cpu=100m", "--set", "defaultPool.resources.requests.memory=128Mi"),
        *_image("controller", config.getoption("--controller-image")),
        *_image("executor", config.getoption("--executor-image")),
    ]


def _image(part: str, image: str) -> list[str]:
    repository, _, tag = image.rpartition(":")
    return [
        *("--set", f"{part}.image.repository={repository}", "--set", f"{part}.image.tag={tag}"),
        *("--set", f"{part}.image.pullPolicy=IfNotPresent"),
    ]


@contextmanager
def upgraded(tools: Tools, config: pytest.Config, *values: str) -> Iterator[None]:
    """The release with further ``key=value`` pairs; afterwards as before, and its default pool whole again."""
    try:
        tools.helm(*chart_words(config), *(word for value in values for word in ("--set", value)))
        yield
    finally:
        put_back(tools, config)


def put_back(tools: Tools, config: pytest.Config) -> None:
    """The release as the tests want it, and its default pool whole."""
    tools.helm(*chart_words(config))
    eventually(lambda: _is_whole(tools), timeout_s=300, interval_s=1)


def _is_whole(tools: Tools) -> bool:
    status = tools.get("executorpool", "default").get("status", {})
    calm = condition(status, "Degraded").get("status") == "False" and status.get("readyReplicas") == 2
    return calm and len(tools.pods(DEFAULT_PODS)) == 2


def write_profile(tools: Tools, name: str, text: str) -> None:
    """Puts a file beside the shipped profile on every node, by the pods that may."""
    program = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    for pod in tools.pods(INSTALLER_PODS):
        command = ("python3", "-c", program, f"/profiles/{name}")
        tools.kubectl("exec", "-i", "-n", SYSTEM_NAMESPACE, pod["metadata"]["name"], "--", *command, stdin=text)


def remove_profile(tools: Tools, name: str) -> None:
    """Takes it away again; the installers must be there."""
    for pod in tools.pods(INSTALLER_PODS):
        tools.in_pod(pod["metadata"]["name"], "rm", "-f", f"/profiles/{name}")
