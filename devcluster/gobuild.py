"""Kubernetes, etcd, containerd, runc, CoreDNS, kind and helm from Go modules.

For machines that reach a Go module proxy but no registry and no download site. All but runc are built
without cgo and runc is linked statically, so the results run on any root file system whatever the C
library of the machine that built them.

``k8s.io/kubernetes`` replaces its staging modules by folders, hence cannot be installed by version: it
is built from a module of our own that replaces each of them by its published version.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import versions
from devcluster.cache import Cache, digest
from devcluster.commands import output
from devcluster.progress import Step

_STAGING = re.compile(r"^\s*(k8s\.io/[a-z0-9-]+) => \./staging/", re.MULTILINE)
_KUBERNETES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubeadm",
    "kubectl",
)
_NO_CGO: Mapping[str, str] = {"CGO_ENABLED": "0"}


@dataclass(frozen=True)
class GoBuild:
    """``go build`` (in a module of ours) or ``go install`` (by version) of some commands."""

    name: str
    version: str
    packages: tuple[str, ...]
    usual: str
    ldflags: str = "-s -w"
    tags: str = ""
    env: Mapping[str, str] = field(default_factory=lambda: _NO_CGO)
    in_module: bool = False

    @property
    def key(self) -> str:
        parts = [self.packages, self.ldflags, self.tags, dict(self.env), platform.machine()]
        return f"{self.version}-{digest(*parts)}"


def kubernetes(version: str = versions.KUBERNETES) -> GoBuild:
    """The version must be linked in: without it a node reports v0.0.0 and kubeadm refuses it."""
    major, minor, _ = version.split(".")
    base = "k8s.io/component-base/version"
    stamp = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return GoBuild(
        name="kubernetes",
        version=version,
        packages=tuple(f"k8s.io/kubernetes/cmd/{command}" for command in _KUBERNETES),
        usual="8 min on 2 cores, with nothing in Go's build cache",
        ldflags=" ".join(["-s -w", *(f"-X {base}.{name}={value}" for name, value in stamp.items())]),
        in_module=True,
    )


ETCD = GoBuild("etcd", versions.ETCD, ("go.etcd.io/etcd/server/v3",), "1 min", in_module=True)
CONTAINERD = GoBuild(
    "containerd",
    versions.CONTAINERD,
    tuple(
        f"github.com/containerd/containerd/v2/cmd/{command}"
        for command in ("containerd", "containerd-shim-runc-v2", "ctr")
    ),
    "2 min",
    ldflags=f"-s -w -X github.com/containerd/containerd/v2/version.Version={versions.CONTAINERD}",
)
RUNC = GoBuild(
    "runc",
    versions.RUNC,
    ("github.com/opencontainers/runc",),
    "30 s",
    ldflags="-s -w -extldflags -static",
    tags="seccomp,netgo,osusergo",
    env={"CGO_ENABLED": "1"},
)
HELM = GoBuild(
    "helm",
    versions.HELM,
    ("helm.sh/helm/v3/cmd/helm",),
    "2 min",
    ldflags=f"-s -w -X helm.sh/helm/v3/internal/version.version=v{versions.HELM}",
)
COREDNS = GoBuild("coredns", versions.COREDNS, ("github.com/coredns/coredns",), "2 min")
KIND = GoBuild("kind", versions.KIND, ("sigs.k8s.io/kind",), "20 s")
KUBECONFORM = GoBuild("kubeconform", versions.KUBECONFORM, ("github.com/yannh/kubeconform/cmd/kubeconform",), "20 s")

VERSITYGW = GoBuild("versitygw", versions.VERSITYGW, ("github.com/versity/versitygw/cmd/versitygw",), "2 min")


def staging_modules(kubernetes_gomod: str) -> list[str]:
    """The modules that Kubernetes' own go.mod replaces by ./staging."""
    return sorted(set(_STAGING.findall(kubernetes_gomod)))


def module_file(staging: list[str], kubernetes_version: str, etcd_version: str) -> str:
    """A go.mod that can build Kubernetes and etcd by their published versions."""
    minor = kubernetes_version.split(".", 1)[1]
    replaces = "".join(f"\t{name} => {name} v0.{minor}\n" for name in staging)
    return (
        "module sandbox-executor.dev/devcluster/tools\n\n"
        "go 1.24.0\n\n"
        "require (\n"
        f"\tk8s.io/kubernetes v{kubernetes_version}\n"
        f"\tgo.etcd.io/etcd/server/v3 v{etcd_version}\n"
        ")\n\n"
        f"replace (\n{replaces})\n"
    )


@dataclass(frozen=True)
class GoBuilder:
    """Builds into the cache; ``go`` is the command to use, ``logs`` takes one log a build."""

    go: Path
    cache: Cache
    logs: Path

    def binaries(self, build: GoBuild) -> Path:
        """The folder that holds the build's commands."""
        return self.cache.get(f"go-{build.name}", build.key, lambda out: self._build(build, out))

    def kind_base_files(self) -> Path:
        """kind's own files for a node's root, in the module cache (read there, never copied here)."""
        return self.module_folder("sigs.k8s.io/kind", versions.KIND) / "images/base/files"

    def module_folder(self, name: str, version: str) -> Path:
        """Where the module cache has this module's files; downloaded where it has not."""
        return Path(self._module(f"{name}@v{version}")["Dir"])

    def _build(self, build: GoBuild, out: Path) -> None:
        if build.in_module:
            self._build_in_module(build, out)
        else:
            targets = [f"{package}@v{build.version}" for package in build.packages]
            self._go(build, ["install", *self._flags(build), *targets], {"GOBIN": str(out)})

    def _build_in_module(self, build: GoBuild, out: Path) -> None:
        gomod = self._module(f"k8s.io/kubernetes@v{versions.KUBERNETES}", download_all=False)["GoMod"]
        staging = staging_modules(Path(gomod).read_text())
        module = self.cache.root / "tmp" / f"module-{build.name}"
        module.mkdir(parents=True, exist_ok=True)
        (module / "go.mod").write_text(module_file(staging, versions.KUBERNETES, versions.ETCD))
        target = out if len(build.packages) > 1 else out / build.name
        words = ["build", *self._flags(build), "-o", f"{target}", *build.packages]
        self._go(build, words, {}, cwd=module)

    def _go(self, build: GoBuild, words: list[str], env: dict[str, str], cwd: Path | None = None) -> None:
        Step(
            title=f"building {build.name} {build.version}",
            command=[self.go, *words],
            log=self.logs / f"go-{build.name}.log",
            usual=build.usual,
            env={"GOFLAGS": "-mod=mod -buildvcs=false", "GOWORK": "off", **build.env, **env},
            cwd=cwd or self.cache.root,
            tries=2,
        ).run()

    @staticmethod
    def _flags(build: GoBuild) -> list[str]:
        tags = ["-tags", build.tags] if build.tags else []
        return ["-trimpath", *tags, "-ldflags", build.ldflags]

    def _module(self, module: str, *, download_all: bool = True) -> dict[str, str]:
        """``go mod download -json``: GoMod, and Dir when all of it was asked for."""
        words = ["mod", "download", "-json"] if download_all else ["list", "-m", "-json"]
        env = {"GOFLAGS": "", "GOWORK": "off"}
        found: dict[str, str] = json.loads(output([self.go, *words, module], env=env, timeout_s=600))
        return found
