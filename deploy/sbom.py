"""What is in an image, as a CycloneDX document (https://cyclonedx.org/docs/1.6/json/): Debian's packages and Python's.

Read from the archive's layers, so it is what was built and not what was meant: an OCI archive, as ``buildah push
oci-archive:`` and ``docker save`` (25 and newer) write one.
"""

import email.parser
import json
import re
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final
from urllib.parse import quote

_DPKG: Final = "var/lib/dpkg/status"
_RELEASE: Final = "usr/lib/os-release"
_METADATA: Final = re.compile(r".*/[^/]+\.dist-info/METADATA")
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


@dataclass(frozen=True, order=True)
class Package:
    """One package; ``purl`` names it for every tool (https://github.com/package-url/purl-spec)."""

    name: str
    version: str
    purl: str


def read_packages(archive: Path) -> list[Package]:
    """The packages in an image, in order.

    Raises:
        ValueError: it is no OCI archive of one image, or there is no package in it.
    """
    files = _read_files(archive)
    debian = files.pop(_DPKG, "")
    suite = re.search(r'^VERSION_ID="?(\d+)', files.pop(_RELEASE, ""), re.MULTILINE)
    distro = f"debian-{suite[1]}" if suite else "debian"
    found = {*_debian_packages(debian, distro), *(_python_package(text) for text in files.values())}
    if not found:
        raise ValueError(f"{archive.name}: neither Debian's list of packages nor any of Python's is in it")
    return sorted(found)


def make_document(name: str, version: str, packages: list[Package], built: datetime) -> dict[str, Any]:
    """The CycloneDX document of an image; the same for the same packages and time."""
    components = [
        {"type": "library", "bom-ref": each.purl, "name": each.name, "version": each.version, "purl": each.purl}
        for each in packages
    ]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([name, version, components]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": built.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "container", "bom-ref": name, "name": name, "version": version},
        },
        "components": components,
    }


def _read_files(archive: Path) -> dict[str, str]:
    """The files that packages are listed in, as the topmost layer has them."""
    try:
        with tarfile.open(archive) as outer:
            files: dict[str, str] = {}
            for layer in _layers(outer):
                with tarfile.open(fileobj=_blob(outer, layer)) as packed:
                    _lay_over(files, packed)
            return files
    except (KeyError, tarfile.TarError) as error:
        raise ValueError(f"{archive.name} is not an OCI archive of one image: {error}") from error


def _layers(outer: tarfile.TarFile) -> list[Mapping[str, Any]]:
    index = json.load(_member(outer, "index.json"))
    (entry,) = index["manifests"]
    manifest = json.load(_blob(outer, entry))
    layers: list[Mapping[str, Any]] = manifest["layers"]
    return layers


def _blob(outer: tarfile.TarFile, descriptor: Mapping[str, Any]) -> IO[bytes]:
    algorithm, _, digest = str(descriptor["digest"]).partition(":")
    return _member(outer, f"blobs/{algorithm}/{digest}")


def _member(outer: tarfile.TarFile, name: str) -> IO[bytes]:
    found = outer.extractfile(name)
    if found is None:
        raise KeyError(f"{name} is no file")
    return found


def _lay_over(files: dict[str, str], layer: tarfile.TarFile) -> None:
    """What a layer removes, it removes from those below
    (https://github.com/opencontainers/image-spec/blob/main/layer.md)."""
    new: dict[str, str] = {}
    for member in layer:
        path = PurePosixPath(member.name.removeprefix("./"))
        if path.name == _OPAQUE:
            _remove(files, str(path.parent), itself=False)
        elif path.name.startswith(_WHITEOUT):
            _remove(files, str(path.with_name(path.name.removeprefix(_WHITEOUT))))
        elif member.isfile() and (str(path) in (_DPKG, _RELEASE) or _METADATA.fullmatch(str(path))):
            content = layer.extractfile(member)
            new[str(path)] = content.read().decode(errors="replace") if content else ""
    files |= new


def _remove(files: dict[str, str], path: str, itself: bool = True) -> None:
    for name in [name for name in files if name.startswith(f"{path}/") or (itself and name == path)]:
        del files[name]


def _debian_packages(status: str, distro: str) -> Iterator[Package]:
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^([A-Z][A-Za-z-]*): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
            qualifiers = f"arch={machine}&distro={distro}"
            yield Package(name, version, f"pkg:deb/debian/{name}@{quote(version, safe='~')}?{qualifiers}")


def _python_package(metadata: str) -> Package:
    fields = email.parser.HeaderParser().parsestr(metadata)
    name, version = str(fields["Name"]), str(fields["Version"])
    return Package(name, version, f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{quote(version)}")
