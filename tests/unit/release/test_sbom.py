"""What is in an image is read from its layers: the last one counts, and what it removes is gone."""

import hashlib
import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.sbom import Package, make_document, read_packages

DPKG = """\
Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b7

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: tzdata
Status: install ok installed
Architecture: all
Version: 1:2026~a-0
Description: zones
 Package: not-one
"""
SITE = "opt/venv/lib/python3.11/site-packages"
BASH = Package("bash", "5.2.15-2+b7", "pkg:deb/debian/bash@5.2.15-2%2Bb7?arch=amd64&distro=debian-12")


def python(name: str, version: str) -> str:
    return f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n\nName: not this one\n"


def tar(files: dict[str, str], mode: str = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def image(path: Path, *layers: dict[str, str]) -> Path:
    """An OCI archive with these layers, the second one and later ones compressed."""
    blobs = [tar(layer, "w" if index == 0 else "w:gz") for index, layer in enumerate(layers)]
    blobs.append(json.dumps({"layers": [{"digest": digest(blob)} for blob in blobs]}).encode())
    index = json.dumps({"manifests": [{"digest": digest(blobs[-1])}]}).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in [("index.json", index), *((f"blobs/sha256/{digest(b)[7:]}", b) for b in blobs)]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def test_packages_of_debian_and_python_are_found_and_those_that_are_not_installed_are_not(tmp_path: Path) -> None:
    files = {
        "var/lib/dpkg/status": DPKG,
        "usr/lib/os-release": 'NAME="Debian"\nVERSION_ID="12"\n',
        f"./{SITE}/Zope_thing-2.dist-info/METADATA": python("Zope_thing", "2"),
        f"{SITE}/zope/METADATA": python("no", "1"),
    }
    assert read_packages(image(tmp_path / "a.tar", files)) == [
        Package("Zope_thing", "2", "pkg:pypi/zope-thing@2"),
        BASH,
        Package("tzdata", "1:2026~a-0", "pkg:deb/debian/tzdata@1%3A2026~a-0?arch=all&distro=debian-12"),
    ]


def test_a_later_layer_replaces_and_removes_what_is_below_it(tmp_path: Path) -> None:
    below = {
        "usr/lib/os-release": 'VERSION_ID="12"\n',
        "var/lib/dpkg/status": "",
        f"{SITE}/a-1.dist-info/METADATA": python("a", "1"),
        f"{SITE}/b-1.dist-info/METADATA": python("b", "1"),
        "old/c-1.dist-info/METADATA": python("c", "1"),
    }
    above = {
        "var/lib/dpkg/status": DPKG.split("\n\n")[0],
        f"{SITE}/.wh.a-1.dist-info": "",
        f"{SITE}/b-1.dist-info/.wh.METADATA": "",
        f"{SITE}/b-2.dist-info/METADATA": python("b", "2"),
        "old/.wh..wh..opq": "",
        "old/d-1.dist-info/METADATA": python("d", "1"),
    }
    found = read_packages(image(tmp_path / "a.tar", below, above))
    assert found == [Package("b", "2", "pkg:pypi/b@2"), BASH, Package("d", "1", "pkg:pypi/d@1")]


def test_an_archive_without_packages_or_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"bare\.tar: neither Debian's"):
        read_packages(image(tmp_path / "bare.tar", {"a": "b"}))
    (tmp_path / "other.tar").write_bytes(tar({"manifest.json": "[]"}))
    (tmp_path / "text.tar").write_text("no archive")
    for name in ("other.tar", "text.tar"):
        with pytest.raises(ValueError, match=f"{name} is not an OCI archive"):
            read_packages(tmp_path / name)


def test_the_document_names_image_and_packages_and_is_the_same_each_time() -> None:
    built = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
    document = make_document("sandbox-executor/executor", "0.1.0", [BASH], built)
    assert document == make_document("sandbox-executor/executor", "0.1.0", [BASH], built)
    assert document["metadata"]["timestamp"] == "2026-11-27T12:00:00Z"
    assert document["metadata"]["component"]["name"] == "sandbox-executor/executor"
    assert [component["purl"] for component in document["components"]] == [BASH.purl]
    other = make_document("sandbox-executor/executor", "0.1.0", [], built)
    assert other["serialNumber"] != document["serialNumber"]
