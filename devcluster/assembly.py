"""Puts the node image together from files alone: Debian's root, kind's base files, our binaries.

kind's node image holds the control plane's images in its containerd, so that a cluster starts without
a registry. Here they are the binaries on nothing (kube-proxy: on iptables), put there by the very
containerd that the node will run, started for a moment with its root inside the new file system. No
engine takes part, so it can be made before one is there.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from devcluster import archive, debian, gobuild, nodeimage, versions
from devcluster.archive import Image
from devcluster.cache import Cache
from devcluster.commands import output
from devcluster.errors import StepFailed
from devcluster.nodeimage import NodeImage, Parts
from devcluster.progress import Step, dies_with_us, say, tail

_CONTAINERD_CONFIG = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]\n'
_KEPT_OF_STORE = ("io.containerd.content.v1.content", "io.containerd.metadata.v1.bolt")


def build(parts: Parts, cache: Cache, logs: Path, *, may_lower_oom_score: bool) -> NodeImage:
    """The node image of these parts, from the cache if it was made before."""
    name = nodeimage.key(parts, may_lower_oom_score=may_lower_oom_score)
    tag = f"localhost/sandbox-executor-node:v{versions.KUBERNETES}-{name}"
    log = logs / "node-image.log"

    def make(out: Path) -> None:
        say("putting the node image together (usually 40 s)")
        work = out / "work"
        _Assembly(parts, work, log, may_lower_oom_score).run(tag, out / "image.tar")
        shutil.rmtree(work)

    return NodeImage(tag, cache.get("node-image", name, make, kept=1) / "image.tar")


def collect(builder: gobuild.GoBuilder, cache: Cache, logs: Path) -> Parts:
    """Build (or find) every part; the slow Go builds first, so that a failure shows early."""
    return Parts(
        kubernetes=builder.binaries(gobuild.kubernetes()),
        etcd=builder.binaries(gobuild.ETCD),
        containerd=builder.binaries(gobuild.CONTAINERD),
        runc=builder.binaries(gobuild.RUNC),
        coredns=builder.binaries(gobuild.COREDNS),
        base_files=builder.kind_base_files(),
        node_root=debian.archive(debian.NODE, cache, logs),
        proxy_root=debian.archive(debian.PROXY, cache, logs),
    )


@dataclass(frozen=True)
class _Assembly:
    parts: Parts
    work: Path
    log: Path
    may_lower_oom_score: bool

    @property
    def root(self) -> Path:
        return self.work / "root"

    def run(self, tag: str, target: Path) -> None:
        images = nodeimage.control_plane_images(
            output(
                [
                    self.parts.kubernetes / "kubeadm",
                    "config",
                    "images",
                    "list",
                    f"--kubernetes-version=v{versions.KUBERNETES}",
                ]
            )
        )
        self._unpack()
        self._install(images["pause"])
        self._import(images)
        layer = self.work / "layer.tar"
        self._step("tar", "--numeric-owner", "-C", self.root, "-cf", layer, ".")
        shutil.rmtree(self.root)
        archive.write(target, [Image(tag, (layer,), dict(nodeimage.ENTRYPOINT))])

    def _step(self, *command: str | Path) -> None:
        Step("putting the node image together", command, self.log).run()

    def _unpack(self) -> None:
        self.root.mkdir(parents=True)
        self._step("tar", "--numeric-owner", "-C", self.root, "-xpf", self.parts.node_root)

    def _install(self, pause: str) -> None:
        base, root = self.parts.base_files, self.root
        for folder in ("usr/local/bin", "kind", "etc"):
            self._step("cp", "-r", "--no-preserve=mode,ownership", f"{base / folder}/.", root / folder)
        for source in (self.parts.containerd, self.parts.runc):
            self._step("cp", "-r", f"{source}/.", root / "usr/local/bin")
        for command in ("kubelet", "kubeadm", "kubectl"):
            shutil.copy(self.parts.kubernetes / command, root / "usr/bin" / command)
        for folder in ("kind/bin", "usr/local/bin"):
            for path in (root / folder).iterdir():
                path.chmod(0o755)
        (root / "kind/version").write_text(f"v{versions.KUBERNETES}\n")
        self._step("chroot", root, "/bin/sh", "-c", nodeimage.ENABLE_UNITS)
        self._configure_containerd(pause)

    def _configure_containerd(self, pause: str) -> None:
        config = self.root / "etc/containerd/config.toml"
        config.write_text(
            nodeimage.containerd_config(config.read_text(), pause=pause, may_lower_oom_score=self.may_lower_oom_score)
        )
        spec = output([self.parts.containerd / "ctr", "oci", "spec"])
        (config.parent / "cri-base.json").write_text(nodeimage.base_runtime_spec(spec))

    def _control_plane(self, names: dict[str, str]) -> Path:
        """One archive of all the images that kubeadm wants."""
        pause = self.work / "pause"
        (self.work / "pause.c").write_text(nodeimage.PAUSE_C)
        self._step("gcc", "-static", "-O2", "-s", "-o", pause, self.work / "pause.c")
        layers = self.work
        images = []
        for component, tag in names.items():
            if component == "pause":
                images.append(self._image(tag, "pause", pause, {"Entrypoint": ["/pause"]}))
            elif component == "coredns":
                coredns = self.parts.coredns / "coredns"
                images.append(self._image(tag, "coredns", coredns, {"Entrypoint": ["/coredns"]}))
            else:
                folder = self.parts.etcd if component == "etcd" else self.parts.kubernetes
                below = (self.parts.proxy_root,) if component == "kube-proxy" else ()
                name = f"usr/local/bin/{component}"
                layer = archive.layer_of_files(layers / f"{component}.tar", {name: folder / component})
                images.append(Image(tag, (*below, layer)))
        target = self.work / "control-plane.tar"
        archive.write(target, images)
        return target

    def _image(self, tag: str, name: str, binary: Path, config: dict[str, object]) -> Image:
        return Image(tag, (archive.layer_of_files(self.work / f"{name}.tar", {name: binary}),), config)

    def _import(self, names: dict[str, str]) -> None:
        images = self._control_plane(names)
        store = self.root / "var/lib/containerd"
        address, config = self.work / "c.sock", self.work / "containerd.toml"
        config.write_text(_CONTAINERD_CONFIG)
        command: list[str | Path] = [
            *dies_with_us(),
            *(self.parts.containerd / "containerd", "--config", config, "--root", store),
            *("--state", self.work / "state", "--address", address),
        ]
        with self.log.open("ab") as log:
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            ctr: list[str | Path] = [self.parts.containerd / "ctr", "--address", address, "--namespace", "k8s.io"]
            self._await(daemon, [*ctr, "version"])
            self._step(*ctr, "images", "import", "--no-unpack", images)
        finally:
            daemon.terminate()
            daemon.wait()
        for path in store.iterdir():
            if path.name not in _KEPT_OF_STORE:
                shutil.rmtree(path)

    def _await(self, daemon: subprocess.Popen[bytes], probe: list[str | Path]) -> None:
        for _ in range(150):
            if subprocess.run(probe, capture_output=True).returncode == 0:
                return
            if daemon.poll() is not None:
                break
            time.sleep(0.1)
        raise StepFailed(f"containerd did not start\n{tail(self.log)}", log=self.log)
