"""Settings of pip for a build, and names of images."""

from pathlib import Path
from typing import Any

import pytest

from devcluster.archive import Image, layer_of_files, write
from devcluster.buildah import Build, pip_settings, unused_images
from devcluster.images import full_name, loaded_images


def test_a_machine_without_pip_settings_passes_none(tmp_path: Path) -> None:
    assert pip_settings(tmp_path / "absent", {}) is None


def test_the_bundle_is_mounted_and_named_by_where_it_lies_in_the_build(tmp_path: Path) -> None:
    conf = tmp_path / "pip.conf"
    conf.write_text("[global]\ncert = /etc/here.crt\nindex-url = https://index.example/simple%20\n")
    settings = pip_settings(conf, {})
    assert settings is not None
    assert settings.bundle == Path("/etc/here.crt")
    assert "cert = /run/devcluster-pip-ca.crt\n" in settings.conf
    assert "index-url = https://index.example/simple%20\n" in settings.conf


def test_variables_win_over_the_file_as_they_do_in_pip(tmp_path: Path) -> None:
    conf = tmp_path / "pip.conf"
    conf.write_text("[global]\nindex-url = https://old.example\n")
    settings = pip_settings(conf, {"PIP_INDEX_URL": "https://new.example", "PIP_CERT": ""})
    assert settings is not None
    assert "index-url = https://new.example\n" in settings.conf
    assert settings.bundle is None


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("a", "docker.io/library/a:latest"),
        ("a/b:1", "docker.io/a/b:1"),
        ("localhost/a:1", "localhost/a:1"),
        ("host:5000/a", "host:5000/a:latest"),
        ("example.org/a/b:1", "example.org/a/b:1"),
    ],
)
def test_names_are_completed_as_engines_do(tag: str, name: str) -> None:
    assert full_name(tag) == name


def test_the_dockerfile_is_the_contexts_own_unless_another_is_named() -> None:
    context = Path("/src")
    assert Build(None, "t", context).words == ["-t", "t", "-f", context / "Dockerfile"]
    assert Build("executor", "t", context, Path("/x")).words == ["--target", "executor", "-t", "t", "-f", Path("/x")]


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    (tmp_path / "binary").write_text("x")
    archives = []
    for name in ("one", "two"):
        layer = layer_of_files(tmp_path / f"{name}.layer", {"usr/bin/x": tmp_path / "binary"})
        write(tmp_path / name, [Image("a:1", (layer,)), Image("b:1", (layer,))])
        archives.append((tmp_path / name).read_bytes())
    assert archives[0] == archives[1]


def test_images_that_were_loaded_are_told_by_their_label() -> None:
    listing = (
        "REF TYPE DIGEST SIZE PLATFORMS LABELS\n"
        "docker.io/a:1 application/x sha256:1 1 MiB linux/amd64 "
        "io.cri-containerd.image=managed,sandbox-executor.dev/image-id=abc123\n"
        "docker.io/b:1 application/x sha256:2 1 MiB linux/amd64 io.cri-containerd.image=managed\n"
    )
    assert loaded_images(listing) == {"docker.io/a:1": "abc123"}


def test_pip_trusts_what_other_python_programs_are_told_to_trust(tmp_path: Path) -> None:
    settings = pip_settings(tmp_path / "absent", {"REQUESTS_CA_BUNDLE": "/etc/here.crt"})
    assert settings is not None
    assert settings.bundle == Path("/etc/here.crt")


def test_to_make_room_the_older_half_goes_but_for_what_newer_images_stand_on() -> None:
    images: list[dict[str, Any]] = [
        {"id": "base", "names": ["base:1"], "layer": "l0", "created": "1970"},
        {"id": "dependencies", "layer": "l1", "created": "2026-01"},
        {"id": "old code", "layer": "l2", "created": "2026-02"},
        {"id": "old code, user set", "layer": "l2", "created": "2026-03"},
        {"id": "new code", "layer": "l3", "created": "2026-04"},
        {"id": "new code, user set", "layer": "l3", "created": "2026-05"},
        {"id": "final", "names": ["x:1"], "layer": "l4", "created": "2026-06"},
        {"id": "without layers", "created": "2026-07"},
    ]
    parents = {"l0": None, "l1": "l0", "l2": "l1", "l3": "l1", "l4": "l0"}
    layers = [{"id": layer, "parent": parent} for layer, parent in parents.items()]
    assert unused_images(images, layers) == ["old code", "old code, user set"]
