"""kind, kubectl and helm: those of the machine where they are new enough, else downloaded, else built.

In our own engine they are always the built ones, the versions that were tried together.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devcluster import archive, gobuild, host, versions
from devcluster.cache import Cache
from devcluster.commands import output
from devcluster.errors import DevclusterError, StepFailed
from devcluster.gobuild import GoBuild, GoBuilder
from devcluster.progress import say

_CONNECT_S = 10.0
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.\d+")


@dataclass(frozen=True)
class Tools:
    kind: Path
    kubectl: Path
    helm: Path

    def link_into(self, folder: Path, docker: Path | None) -> None:
        """Fill the folder that goes first in PATH; ``docker`` only with an engine of our own."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {"kind": self.kind, "kubectl": self.kubectl, "helm": self.helm, "docker": docker}
        for name, source in files.items():
            if source is not None and source.parent != folder:
                place(source, folder / name)


def place(source: Path, target: Path) -> None:
    """The same file under another name: it stays when the cache drops the entry that it came from."""
    temporary = target.with_name(f".{target.name}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), temporary)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, temporary)
    temporary.replace(target)


@dataclass(frozen=True)
class _Tool:
    """How one command is found, downloaded and built."""

    name: str
    version: str
    minimum: tuple[int, int]
    ask: tuple[str, ...]
    url: str
    checksum_suffix: str
    member: str | None
    """The file inside the download when that is an archive."""
    build: Callable[[], GoBuild]


_OS_ARCH = f"linux-{archive.architecture()}"
_TOOLS = (
    _Tool(
        "kind",
        versions.KIND,
        versions.KIND_MINIMUM,
        ("version",),
        f"https://github.com/kubernetes-sigs/kind/releases/download/v{versions.KIND}/kind-{_OS_ARCH}",
        ".sha256sum",
        None,
        lambda: gobuild.KIND,
    ),
    _Tool(
        "kubectl",
        versions.KUBERNETES,
        versions.KUBECTL_MINIMUM,
        ("version", "--client"),
        f"https://dl.k8s.io/release/v{versions.KUBERNETES}/bin/linux/{archive.architecture()}/kubectl",
        ".sha256",
        None,
        gobuild.kubernetes,
    ),
    _Tool(
        "helm",
        versions.HELM,
        versions.HELM_MINIMUM,
        ("version", "--short"),
        f"https://get.helm.sh/helm-v{versions.HELM}-{_OS_ARCH}.tar.gz",
        ".sha256sum",
        f"{_OS_ARCH}/helm",
        lambda: gobuild.HELM,
    ),
)


def built(builder: GoBuilder) -> Tools:
    """All three from Go modules."""
    return Tools(
        kind=builder.binaries(gobuild.KIND) / "kind",
        kubectl=builder.binaries(gobuild.kubernetes()) / "kubectl",
        helm=builder.binaries(gobuild.HELM) / "helm",
    )


def at_hand(cache: Cache, builder: Callable[[], GoBuilder]) -> Tools:
    """For an ordinary engine; ``builder`` is asked for only when there is no other way."""
    return Tools(*(_obtain(tool, cache, builder) for tool in _TOOLS))


def version_of(text: str) -> tuple[int, int] | None:
    """Major and minor of the first version named in ``text``."""
    found = _VERSION.search(text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def _obtain(tool: _Tool, cache: Cache, builder: Callable[[], GoBuilder]) -> Path:
    if (found := _installed(tool)) is not None:
        return found
    try:
        return cache.get(f"download-{tool.name}", tool.version, lambda out: _download(tool, out)) / tool.name
    except (OSError, DevclusterError) as error:
        say(f"{tool.name} {tool.version} cannot be downloaded ({error}), building it")
        return builder().binaries(tool.build()) / tool.name


def _installed(tool: _Tool) -> Path | None:
    found = host.find(tool.name)
    if found is None:
        return None
    try:
        version = version_of(output([found, *tool.ask], timeout_s=10))
    except StepFailed:
        return None
    return found if version and version >= tool.minimum else None


def _download(tool: _Tool, out: Path) -> None:
    """Checked against the digest that the project publishes beside the file."""
    say(f"downloading {tool.name} {tool.version}")
    target = out / (tool.name if tool.member is None else "download")
    with _open(tool.url) as answer, target.open("wb") as file:
        shutil.copyfileobj(answer, file)
    with _open(tool.url + tool.checksum_suffix) as answer:
        expected = answer.read().decode().split()[0]
    if archive.sha256(target) != expected:
        raise DevclusterError(f"{tool.url} does not have the published sha256")
    if tool.member is not None:
        with tarfile.open(target) as packed, (out / tool.name).open("wb") as file:
            member = packed.extractfile(tool.member)
            if member is None:
                raise DevclusterError(f"{tool.url} holds no {tool.member}")
            shutil.copyfileobj(member, file)
        target.unlink()
    (out / tool.name).chmod(0o755)


def _open(url: str):  # type: ignore[no-untyped-def]
    return urllib.request.urlopen(url, timeout=_CONNECT_S)
