"""Container image archives ("docker save" form) written by hand, so that no engine is needed to build.

The form is the image specification v1.2 of moby: a manifest.json that names for each image its
configuration and its layers, each layer an uncompressed tar named by its digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_CREATED = "1970-01-01T00:00:00Z"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """One image: its tag and its layers, lowest first; ``config`` as in the OCI image configuration."""

    tag: str
    layers: tuple[Path, ...]
    config: dict[str, object] = field(default_factory=dict)


def architecture() -> str:
    """As container images name it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_config(image: Image, diff_ids: Sequence[str]) -> bytes:
    document = {
        "architecture": architecture(),
        "os": "linux",
        "created": _CREATED,
        "config": {"Env": [_PATH], **image.config},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in diff_ids]},
        "history": [{"created": _CREATED, "created_by": "devcluster"} for _ in diff_ids],
    }
    return json.dumps(document, sort_keys=True).encode()


def write(target: Path, images: Sequence[Image]) -> None:
    """Write all ``images`` into one archive; a layer that they share is stored once."""
    digests = {layer: sha256(layer) for image in images for layer in image.layers}
    manifest: list[dict[str, object]] = []
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for layer, digest in digests.items():
            archive.add(layer, arcname=f"{digest}.tar", filter=_anonymous)
        for image in images:
            config = image_config(image, [digests[layer] for layer in image.layers])
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add_bytes(archive, name, config)
            layers = [f"{digests[layer]}.tar" for layer in image.layers]
            manifest.append({"Config": name, "RepoTags": [image.tag], "Layers": layers})
        _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())


def layer_of_files(target: Path, files: dict[str, Path]) -> Path:
    """A layer that holds ``files``: path in the image (no leading slash) → file here, all executable."""
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as layer:
        for name, source in sorted(files.items()):
            info = layer.gettarinfo(source, arcname=name)
            info = _anonymous(info)
            info.mode = 0o755
            with source.open("rb") as file:
                layer.addfile(info, file)
    return target


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same bytes for the same content, whoever builds it and when."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    return info


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
