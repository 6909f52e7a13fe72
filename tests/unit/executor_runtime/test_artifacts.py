"""Artifacts: what an execution made, and nothing that it only points at (the seed's T078-T081)."""

import os
import time
from pathlib import Path

import pytest

from executor_runtime.artifacts import ArtifactNotFound, classify, collect, open_artifact, snapshot
from executor_runtime.workspace import Workspace, Workspaces


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "root").mkdir()
    return Workspaces(tmp_path / "root").create("x")


def paths_of(workspace: Workspace) -> list[str]:
    return [artifact.path for artifact in collect(workspace, {})]


def read(workspace: Workspace, path: str) -> bytes:
    opened = open_artifact(workspace, path)
    try:
        content = os.read(opened.descriptor, 1000)
        assert len(content) == opened.size
        return content
    finally:
        os.close(opened.descriptor)


def test_nested_files_have_paths_relative_to_the_workspace(workspace: Workspace) -> None:
    (workspace.path / "outputs" / "january").mkdir(parents=True)
    (workspace.path / "outputs" / "january" / "report.pdf").write_bytes(b"123")
    (workspace.path / "top.txt").write_bytes(b"")
    found = collect(workspace, {})
    assert [(one.path, one.size, one.mime_type, one.type) for one in found] == [
        ("outputs/january/report.pdf", 3, "application/pdf", "artifact"),
        ("top.txt", 0, "text/plain", "output"),
    ]


def test_hidden_files_and_directories_are_left_out(workspace: Workspace) -> None:
    (workspace.path / ".cache").mkdir()
    (workspace.path / ".cache" / "file").touch()
    (workspace.path / "seen").mkdir()
    (workspace.path / "seen" / ".hidden").touch()
    (workspace.path / "seen" / "not.hidden").touch()
    assert paths_of(workspace) == ["seen/not.hidden"]


def test_only_regular_files_count(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    (workspace.path / "link").symlink_to(tmp_path / "outside" / "file")
    (workspace.path / "directory-link").symlink_to(tmp_path / "outside")
    (workspace.path / "loop").symlink_to(".")
    os.mkfifo(workspace.path / "fifo")
    assert paths_of(workspace) == []


def test_odd_names(workspace: Workspace) -> None:
    for name in ("new\nline", "sp ace", "é", "-rf", "*"):
        (workspace.path / name).touch()
    os.close(os.open(os.fsencode(workspace.path) + b"/\xff", os.O_CREAT))
    assert sorted(paths_of(workspace)) == sorted(["new\nline", "sp ace", "é", "-rf", "*"])


def test_only_what_this_execution_made_or_changed_counts(workspace: Workspace) -> None:
    for name in ("kept", "changed", "replaced", "same-size"):
        (workspace.path / name).write_text("old")
    before = snapshot(workspace)
    (workspace.path / "new").touch()
    (workspace.path / "changed").write_text("longer")
    (workspace.path / "other").write_text("old")
    (workspace.path / "other").rename(workspace.path / "replaced")
    found = (workspace.path / "same-size").stat()
    (workspace.path / "same-size").write_text("new")
    os.utime(workspace.path / "same-size", ns=(found.st_atime_ns, found.st_mtime_ns))  # set back, as if untouched
    assert [artifact.path for artifact in collect(workspace, before)] == ["changed", "new", "replaced", "same-size"]


def test_directories_that_cannot_be_read_or_are_too_deep_end_nothing(workspace: Workspace) -> None:
    deep = workspace.path / "d"
    for _ in range(100):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "too-deep").touch()
    (workspace.path / "closed").mkdir(mode=0)
    (workspace.path / "file").touch()
    assert paths_of(workspace) == ["file"]


def test_a_thousand_files_take_less_than_a_second(workspace: Workspace) -> None:
    for number in range(1000):
        directory = workspace.path / f"d{number % 20}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number}.json").touch()
    began = time.process_time()
    found = collect(workspace, {})
    assert len(found) == 1000
    assert time.process_time() - began < 1


def test_the_list_is_bounded(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor_runtime.artifacts.MAX_ARTIFACTS", 5)
    for number in range(9):
        (workspace.path / str(number)).touch()
    assert len(paths_of(workspace)) == 5


def test_the_directories_are_bounded(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor_runtime.artifacts.MAX_DIRECTORIES", 5)
    for number in range(9):
        (workspace.path / str(number)).mkdir()
        (workspace.path / str(number) / "file").touch()
    assert paths_of(workspace) == []
    (workspace.path / "8" / "file").unlink()
    for number in range(5, 9):
        (workspace.path / str(number)).rename(workspace.path / f".{number}")
    assert len(paths_of(workspace)) == 5


def test_the_bytes_of_all_paths_are_bounded(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor_runtime.artifacts.MAX_LISTED_BYTES", 100)
    (workspace.path / ("d" * 30)).mkdir()
    for number in range(5):
        (workspace.path / ("d" * 30) / str(number)).touch()
    assert len(paths_of(workspace)) == 2  # 30 for the directory itself, 32 for each file in it


def test_the_names_that_are_looked_at_are_bounded(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor_runtime.artifacts.MAX_ENTRIES", 20)
    for number in range(20):
        (workspace.path / f".{number}").mkdir()
        (workspace.path / f"d{number}").mkdir()
        (workspace.path / f"d{number}" / "file").touch()
    assert paths_of(workspace) == []


def test_a_name_does_not_say_its_own_media_type(workspace: Workspace) -> None:
    (workspace.path / "data:text").mkdir()
    (workspace.path / "data:text" / "html\x1b[2J,").touch()
    assert [artifact.mime_type for artifact in collect(workspace, {})] == ["application/octet-stream"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.log", "log"),
        ("A.LOG", "log"),
        ("a.csv", "output"),
        ("a.json", "output"),
        ("a.png", "artifact"),
        ("a", "artifact"),
    ],
)
def test_the_kind_is_by_extension(path: str, kind: str) -> None:
    assert classify(path) == kind


def test_an_artifact_is_opened(workspace: Workspace) -> None:
    (workspace.path / "a" / "b").mkdir(parents=True)
    (workspace.path / "a" / "b" / "c.txt").write_bytes(b"content")
    assert read(workspace, "a/b/c.txt") == b"content"


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "/etc/passwd", "../outside", "a/../../outside", "a//b", "a/./b", "missing", "a", ".hidden", "a/.h"]
    + ["link", "directory-link/file", "fifo", "a\0b", "b/", "\udcff", "x" * 300],
)
def test_nothing_else_is_opened(workspace: Workspace, tmp_path: Path, path: str) -> None:
    (tmp_path / "root" / "outside").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("secret")
    (workspace.path / "a").mkdir()
    (workspace.path / "a" / "b").touch()
    (workspace.path / "b").touch()
    (workspace.path / ".hidden").touch()
    (workspace.path / "link").symlink_to(tmp_path / "outside" / "file")
    (workspace.path / "directory-link").symlink_to(tmp_path / "outside")
    os.mkfifo(workspace.path / "fifo")
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ArtifactNotFound):
        open_artifact(workspace, path)
    assert len(os.listdir("/proc/self/fd")) == descriptors
