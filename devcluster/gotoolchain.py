"""The Go that builds: the machine's where it is new enough, else the toolchain module of Go itself.

Debian's Go is older than what these modules ask for. From 1.21 a Go fetches the newer toolchain by
itself (unless GOTOOLCHAIN forbids it); with an older one, or with Debian's package where there is none, the same
module is downloaded as any other, and checked against a pinned digest.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

from devcluster import archive, host, versions
from devcluster.cache import Cache
from devcluster.commands import output
from devcluster.errors import DevclusterError, MissingTools, StepFailed
from devcluster.progress import say

_SWITCHES_ITSELF = (1, 21, 0)
_TIMEOUT_S = 300.0


def find_go(cache: Cache) -> Path:
    """Raises MissingTools where none is new enough and none can be fetched."""
    installed = host.find("go")
    if installed is not None and _is_enough(installed):
        return installed
    platform = f"linux-{archive.architecture()}"
    try:
        folder = cache.get("go-toolchain", f"{versions.GO_TOOLCHAIN}-{platform}", lambda out: _fetch(platform, out))
    except (OSError, DevclusterError) as error:
        wanted = ".".join(map(str, versions.GO_MINIMUM))
        raise MissingTools(f"no Go, and none can be fetched: {error}", hint=f"install Go {wanted} or newer") from error
    return folder / "bin/go"


def version_of(text: str) -> tuple[int, int, int] | None:
    """``go version go1.26.8 linux/amd64`` → (1, 26, 8)."""
    found = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def _is_enough(go: Path) -> bool:
    try:
        version = version_of(output([go, "version"]))
        if version is None or version >= versions.GO_MINIMUM:
            return version is not None
        choice = output([go, "env", "GOTOOLCHAIN"]).strip()
    except StepFailed:
        return False
    return version >= _SWITCHES_ITSELF and choice.endswith("auto")


def _fetch(platform: str, out: Path) -> None:
    expected = versions.GO_TOOLCHAIN_SHA256.get(platform)
    if expected is None:
        raise DevclusterError(f"no toolchain is pinned for {platform}")
    say(f"fetching the Go toolchain {versions.GO_TOOLCHAIN} (usually 30 s)")
    host.ensure(("go",), out.parent / "apt-golang.log", "fetching a newer Go")
    release = f"v0.0.1-go{versions.GO_TOOLCHAIN}.{platform}"
    module = f"golang.org/toolchain@{release}"
    # Outside of any module, with the Go that is there, and without its checksum database: the digest is pinned.
    env = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GONOSUMDB": "golang.org/toolchain"}
    download: list[str | Path] = ["env", "-C", out, host.find("go") or "go", "mod", "download", "-json", module]
    answer = output(download, env=env, timeout_s=_TIMEOUT_S)
    packed = Path(json.loads(answer)["Zip"])
    if archive.sha256(packed) != expected:
        raise DevclusterError(f"{module} does not have the pinned sha256")
    _unpack(packed, f"{module}/", out)


def _unpack(packed: Path, prefix: str, out: Path) -> None:
    """Module archives carry no modes: the commands have to be made executable."""
    with zipfile.ZipFile(packed) as archived:
        archived.extractall(out)
    inner = out / prefix
    for child in inner.iterdir():
        child.rename(out / child.name)
    shutil.rmtree(out / "golang.org")
    for command in [*out.glob("bin/*"), *out.glob("pkg/tool/*/*")]:
        command.chmod(0o755)
