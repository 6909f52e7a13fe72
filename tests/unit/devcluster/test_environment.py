"""How other programs reach the cluster."""

import subprocess

from devcluster.environment import environment
from devcluster.layout import Layout

LAYOUT = Layout.of("x", {"HOME": "/home/a b"})


def test_our_own_engine_is_reached_through_its_socket_and_namespace() -> None:
    env = environment(LAYOUT, "own", {"PATH": "/bin"})
    assert env.variables["DOCKER_HOST"] == "unix:///run/sandbox-executor/x/docker.sock"
    assert env.command("kubectl", "get") == [
        *("nsenter", "--net=/run/netns/devcluster-x", "--", "kubectl", "get"),
    ]


def test_an_ordinary_engine_keeps_the_callers_docker_host_and_network() -> None:
    env = environment(LAYOUT, "docker", {"PATH": "/bin"})
    assert "DOCKER_HOST" not in env.variables
    assert env.command("kubectl") == ["kubectl"]


def test_our_tools_come_first_in_path_and_only_once() -> None:
    once = environment(LAYOUT, "own", {"PATH": "/usr/bin:/bin"}).variables["PATH"]
    assert once == f"{LAYOUT.bin}:/usr/bin:/bin"
    assert environment(LAYOUT, "own", {"PATH": once}).variables["PATH"] == once


def test_a_shell_reads_the_exports_back() -> None:
    env = environment(LAYOUT, "own", {"PATH": "/usr/bin:/bin"})
    script = env.exports() + 'printf "%s\\n" "$KUBECONFIG" "$DEVCLUSTER_RUN"'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(LAYOUT.kubeconfig), "nsenter --net=/run/netns/devcluster-x --"]
