"""Debian's Docker Engine in a network namespace of its own, for machines that have no engine.

dockerd and the containerd below it are started here, not by the system's service manager, with every
folder, socket and cgroup under names of ours, so that nothing of the machine's own is touched and
``reaper`` finds it all again. The namespace has a default route to nowhere, because kind and kubeadm
want one to exist; images are therefore built outside of it (``images``).
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import host, reaper, runcwrap, state
from devcluster.commands import output, succeeds
from devcluster.errors import DevclusterError, StepFailed
from devcluster.layout import Layout
from devcluster.progress import tail
from devcluster.state import Process, State
from devcluster.tools import place

_START_S = 180.0
_CGROUP_V1_PREFERENCE = ("pids", "devices", "memory", "cpu")
_CONTAINERD_CONFIG = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'


def daemon_config(layout: Layout, runtime: Path) -> dict[str, Any]:
    """daemon.json. Every default that could touch the machine's own engine is named."""
    return {
        "data-root": str(layout.data_root),
        "exec-root": str(layout.run / "exec"),
        "pidfile": str(layout.run / "docker.pid"),
        "hosts": [layout.docker_host],
        "containerd": str(layout.run / "containerd.sock"),
        "cgroup-parent": f"/{layout.cgroup}",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "runtimes": {"devcluster": {"path": str(runtime)}},
        "default-runtime": "devcluster",
        "log-driver": "json-file",
        "log-opts": {"max-size": "20m", "max-file": "2"},
    }


def engine_cgroup(layout: Layout, mountinfo: str) -> Path:
    """The group of the engine's own processes: below ours, in the hierarchy that runc uses for certain."""
    mounts = host.cgroup_mounts(mountinfo)
    if not host.is_cgroup_v1(mountinfo):
        roots = [Path(mount) for mount, kind in mounts.items() if kind == "cgroup2"]
    else:
        roots = [
            Path(mount)
            for controller in _CGROUP_V1_PREFERENCE
            for mount, options in mounts.items()
            if controller in options.split(",")
        ]
    if not roots:
        raise DevclusterError("no cgroup hierarchy is mounted", hint="mount one at /sys/fs/cgroup")
    return roots[0] / layout.cgroup / "engine"


@dataclass(frozen=True)
class OwnEngine:
    """``runc`` is the built one; Debian's is too old for pods with user namespaces."""

    layout: Layout
    runc: Path

    @property
    def env(self) -> dict[str, str]:
        return {"DOCKER_HOST": self.layout.docker_host, "DOCKER_CONTEXT": ""}

    def start(self, known: State) -> State:
        """Start afresh (whatever was left is removed); the state is saved after each process."""
        reaper.clean(self.layout, known.processes.values())
        for folder in (self.layout.run, self.layout.bin, self.layout.logs, self.layout.data_root):
            folder.mkdir(parents=True, exist_ok=True)
        self._make_netns()
        known = State(engine="own", phase="starting")
        known = self._spawn(known, "containerd", self._containerd())
        known = self._spawn(known, "dockerd", self._dockerd())
        self._await_engine(known)
        known = known.at("engine")
        state.save(self.layout.state_file, known)
        return known

    def answers(self) -> bool:
        return succeeds([docker_client(), "version"], env=self.env, timeout_s=60)

    def storage_driver(self) -> str:
        return output([docker_client(), "info", "--format", "{{.Driver}}"], env=self.env).strip()

    def _make_netns(self) -> None:
        name = self.layout.netns
        output(["ip", "netns", "add", name])
        for words in (
            "link set lo up",
            "link add v0 type veth peer name v1",
            "addr add 10.203.0.1/24 dev v0",
            "link set v0 up",
            "link set v1 up",
            "route add default dev v0",
        ):
            output(["nsenter", f"--net={self.layout.netns_path}", "--", "ip", *words.split()])

    def _containerd(self) -> list[str | Path]:
        config = self.layout.state / "containerd.toml"
        config.write_text(_CONTAINERD_CONFIG)
        return [
            *(_command("containerd"), "--config", config),
            *("--root", self.layout.state / "containerd", "--state", self.layout.run / "containerd"),
            *("--address", self.layout.run / "containerd.sock"),
        ]

    def _dockerd(self) -> list[str | Path]:
        runtime = self.layout.bin / "runc"
        place(self.runc, runtime)
        if not host.has_cap_sys_resource():
            wrapped, runtime = runtime, self.layout.state / "runc-without-sys-resource"
            runtime.write_text(runcwrap.script(wrapped))
            runtime.chmod(0o755)
        config = self.layout.state / "daemon.json"
        config.write_text(json.dumps(daemon_config(self.layout, runtime), indent=2))
        return [_command("dockerd"), "--config-file", config]

    def _spawn(self, known: State, role: str, command: list[str | Path]) -> State:
        """In the namespace and in our cgroup before the first instruction of the daemon itself."""
        group = engine_cgroup(self.layout, host.mountinfo())
        group.mkdir(parents=True, exist_ok=True)
        words = ["nsenter", f"--net={self.layout.netns_path}", "--", *map(str, command)]
        script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        with (self.layout.logs / f"{role}.log").open("ab") as log:
            daemon = subprocess.Popen(
                ["sh", "-c", script, str(group), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_daemon_env(),
            )
        recorded = state.process(daemon.pid)
        if recorded is None:
            raise self._failed(role)
        known = known.with_process(role, recorded)
        state.save(self.layout.state_file, known)
        return known

    def _await_engine(self, known: State) -> None:
        deadline = time.monotonic() + _START_S
        while not self.answers():
            for role, daemon in known.processes.items():
                if not state.alive(daemon):
                    raise self._failed(role)
            if time.monotonic() > deadline:
                raise self._failed("dockerd")
            time.sleep(0.2)

    def _failed(self, role: str) -> StepFailed:
        log = self.layout.logs / f"{role}.log"
        return StepFailed(f"{role} did not start\n{tail(log)}", log=log)


def running(known: State | None) -> bool:
    """Whether every process of the recorded engine is still the one that was started."""
    if known is None or not known.processes:
        return False
    return all(state.alive(process) for process in known.processes.values())


def processes(known: State | None) -> list[Process]:
    return list(known.processes.values()) if known else []


def docker_client() -> Path:
    """Debian's client beside Debian's dockerd: a newer one elsewhere in PATH may refuse its API."""
    beside = Path("/usr/bin/docker")
    return beside if beside.exists() else _command("docker")


def _command(name: str) -> Path:
    found = host.find(name)
    if found is None:
        raise DevclusterError(f"{name} is not installed")
    return found


def _daemon_env() -> dict[str, str]:
    """Nothing of the caller's but a PATH: proxies and DOCKER_* variables would change the daemon."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
