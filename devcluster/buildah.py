"""buildah, for where our own engine has no way out of its network namespace to build in.

It builds outside of that, in a store of its own whose layers make the next build quick. pip's settings of
this machine (index, certificate) are mounted for the time of the build and only where there are any:
nothing of them is in the image, and the Dockerfile needs to know nothing about them.
"""

from __future__ import annotations

import configparser
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from devcluster import archive, debian, host, versions
from devcluster.archive import Image
from devcluster.cache import Cache
from devcluster.commands import output, succeeds
from devcluster.errors import DevclusterError, StepFailed
from devcluster.layout import RUN_ROOT
from devcluster.progress import Step, say

REPOSITORY = Path(__file__).resolve().parent.parent
_PIP_VARIABLES = ("index_url", "extra_index_url", "trusted_host", "cert", "proxy")
_CA_IN_BUILD = "/run/devcluster-pip-ca.crt"
_STORE_LIMIT_KIB = 4 << 20


@dataclass(frozen=True)
class Build:
    """One image of a Dockerfile."""

    target: str | None
    tag: str
    context: Path = REPOSITORY
    file: Path | None = None

    @property
    def words(self) -> list[str | Path]:
        target = ["--target", self.target] if self.target else []
        return [*target, "-t", self.tag, "-f", self.file or self.context / "Dockerfile"]


@dataclass(frozen=True)
class PipSettings:
    """``conf``: text of a pip.conf for the build; ``bundle``: certificates to trust, mounted beside it."""

    conf: str
    bundle: Path | None


def pip_settings(conf: Path = Path("/etc/pip.conf"), env: Mapping[str, str] = os.environ) -> PipSettings | None:
    """What this machine's pip is told by its file and by PIP_* variables (these win), or None."""
    parser = configparser.RawConfigParser()
    parser.read(conf)
    if not parser.has_section("global"):
        parser.add_section("global")
    for name in _PIP_VARIABLES:
        if value := env.get(f"PIP_{name.upper()}"):
            parser.set("global", name.replace("_", "-"), value)
    if not parser.has_option("global", "cert") and (value := env.get("REQUESTS_CA_BUNDLE")):
        parser.set("global", "cert", value)
    bundle = parser.get("global", "cert", fallback=None)
    if bundle:
        parser.set("global", "cert", _CA_IN_BUILD)
    if not parser.options("global"):
        return None
    text = io.StringIO()
    parser.write(text)
    return PipSettings(text.getvalue(), Path(bundle) if bundle else None)


@dataclass(frozen=True)
class Buildah:
    """buildah with a store in our cache."""

    cache: Path

    @property
    def command(self) -> list[str | Path]:
        store = self.cache / "buildah"
        return ["buildah", "--root", store, "--runroot", RUN_ROOT / "buildah"]

    def has(self, image: str) -> bool:
        return succeeds([*self.command, "inspect", "--type", "image", image])

    def base_image(self, logs: Path) -> str:
        """The Dockerfile's own base where it can be pulled, else Debian's root with Python."""
        own = f"localhost/sandbox-executor-base:{debian.PYTHON.key}"
        if self.has(own):
            return own
        if self.has(versions.BASE_IMAGE) or self._pulled(logs):
            return versions.BASE_IMAGE
        packed = base_archive(Cache(self.cache), logs, own)
        Step("importing the base image", [*self.command, "pull", f"docker-archive:{packed}"], logs / "base.log").run()
        return own

    def _pulled(self, logs: Path) -> bool:
        return succeeds([*self.command, "pull", "-q", f"docker.io/library/{versions.BASE_IMAGE}"], timeout_s=90)

    def build(self, build: Build, logs: Path) -> None:
        host.ensure([*host.ROOT_NEEDS, "buildah"], logs / "apt.log", "building an image")
        base = self.base_image(logs)
        mounts = self._pip_mounts()
        Step(
            f"building the image {build.tag}",
            [
                *(*self.command, "build", "--layers", "--isolation", "chroot", "--network", "host"),
                *("--build-arg", f"BASE_IMAGE={base}", *mounts, *build.words, build.context),
            ],
            logs / "image.log",
            "1 min, 10 s when only code has changed",
        ).run()
        self._make_room()

    def _make_room(self) -> None:
        """Each build leaves its layers. Not `rmi --prune`: that takes what the next build would reuse, too."""
        if self._used_kib() > _STORE_LIMIT_KIB:
            say("removing the layers of earlier builds")
            unused = unused_images(self._index("images"), self._index("layers"))
            succeeds([*self.command, "rmi", *unused], timeout_s=300)

    def _used_kib(self) -> int:
        try:
            return int(output(["du", "-sx", self.cache / "buildah"]).split()[0])
        except StepFailed:  # a folder went away under its hands: somebody is reading the store
            return 0

    def _index(self, what: str) -> list[dict[str, Any]]:
        """The store's own list; which images share layers cannot be asked for otherwise."""
        (file,) = (self.cache / "buildah").glob(f"*-{what}/{what}.json")
        found: list[dict[str, Any]] = json.loads(file.read_text())
        return found

    def _pip_mounts(self) -> list[str]:
        settings = pip_settings()
        if settings is None:
            return []
        conf = RUN_ROOT / "buildah-pip.conf"
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.touch(0o600)
        conf.write_text(settings.conf)
        bundle = ["-v", f"{settings.bundle}:{_CA_IN_BUILD}:ro"] if settings.bundle else []
        return ["-v", f"{conf}:/etc/pip.conf:ro", *bundle]

    def image_id(self, tag: str) -> str:
        try:
            template = "{{.FromImageID}}"
            return output([*self.command, "inspect", "--type", "image", "--format", template, tag]).strip()
        except StepFailed:
            hint = f"python -m devcluster build-image --tag {tag}"
            raise DevclusterError(f"no image {tag} was built here", hint=hint) from None

    def save(self, tag: str, target: Path, form: Literal["docker-archive", "oci-archive"] = "docker-archive") -> None:
        target.unlink(missing_ok=True)
        output([*self.command, "push", "-q", tag, f"{form}:{target}:{tag}"], timeout_s=600)


def unused_images(images: list[dict[str, Any]], layers: list[dict[str, Any]]) -> list[str]:
    """Ids of the older half of the nameless images, but for those that a kept image stands on.

    ``images`` and ``layers`` as in the store's images.json and layers.json. An image that another one
    stands on is what a later build finds in the cache.
    """
    nameless = sorted((i for i in images if not i.get("names")), key=lambda image: str(image["created"]))
    old = nameless[: len(nameless) // 2]
    parents = {layer["id"]: layer.get("parent") for layer in layers}
    needed: set[str] = set()
    for image in images:
        layer = image.get("layer") if image not in old else None
        while layer and layer not in needed:
            needed.add(layer)
            layer = parents.get(layer)
    return [str(image["id"]) for image in old if image.get("layer") not in needed]


def base_archive(cache: Cache, logs: Path, tag: str) -> Path:
    """The Python root as an image archive."""
    root = debian.archive(debian.PYTHON, cache, logs)

    def pack(out: Path) -> None:
        archive.write(out / "image.tar", [Image(tag, (root,), {"Cmd": ["python3"]})])

    return cache.get("base-image", debian.PYTHON.key, pack, kept=1) / "image.tar"
