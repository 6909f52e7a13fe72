"""Given files come to lie in the workspace and nowhere else, whatever an earlier run of the session left there."""

import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.executor_api import InputFile
from executor_runtime import artifacts
from executor_runtime.files import write_files
from executor_runtime.sandbox import WorkspaceError
from executor_runtime.workspace import Workspace, Workspaces


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "root").mkdir()
    descriptors = set(os.listdir("/proc/self/fd"))
    yield Workspaces(tmp_path / "root").create("exec_20260115_a1b2c3d4")
    assert set(os.listdir("/proc/self/fd")) == descriptors


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory that must stay as it is."""
    made = tmp_path / "outside"
    made.mkdir()
    (made / "file").write_text("kept")
    yield made
    assert (os.listdir(made), (made / "file").read_text()) == (["file"], "kept")


def files(*paths: str, content: bytes = b"new") -> list[InputFile]:
    return [InputFile(path=path, content=content) for path in paths]


def read(workspace: Workspace, *paths: str) -> set[bytes]:
    return {(workspace.path / path).read_bytes() for path in paths}


def test_they_are_written_with_their_directories_and_belong_to_the_code(workspace: Workspace) -> None:
    write_files(workspace, files("a", "b/c/d", "b/c/e", ".hidden/x", content=bytes(range(256)) * 4000))
    assert read(workspace, "a", "b/c/d", "b/c/e", ".hidden/x") == {bytes(range(256)) * 4000}
    for path in (workspace.path / "a", workspace.path / "b/c"):
        found = path.lstat()
        assert found.st_uid == os.getuid()
        assert found.st_mode & stat.S_IRUSR
        assert found.st_mode & stat.S_IWUSR


def test_links_are_replaced_and_never_followed(workspace: Workspace, outside: Path) -> None:
    top = workspace.path
    (top / "file").symlink_to(outside / "file")
    (top / "made").symlink_to(outside / "not-there")
    (top / "directory").symlink_to(outside)
    (top / "deep").mkdir()
    (top / "deep" / "up").symlink_to("../../../outside")
    (top / "self").symlink_to("self")
    paths = ("file", "made", "directory/file", "deep/up/file", "self")
    write_files(workspace, files(*paths))
    assert read(workspace, *paths) == {b"new"}
    assert not any((top / path).is_symlink() for path in (*paths, "directory", "deep/up"))


def test_a_hard_link_is_replaced_and_its_other_names_keep_what_they_had(workspace: Workspace, outside: Path) -> None:
    os.link(outside / "file", workspace.path / "file")
    write_files(workspace, files("file"))
    assert read(workspace, "file") == {b"new"}


def test_a_fifo_is_not_waited_for(workspace: Workspace) -> None:
    os.mkfifo(workspace.path / "file")
    os.mkfifo(workspace.path / "directory")
    write_files(workspace, files("file", "directory/file"))
    assert read(workspace, "file", "directory/file") == {b"new"}


def test_a_file_gives_way_to_a_directory_and_a_directory_to_a_file(workspace: Workspace) -> None:
    top = workspace.path
    (top / "was-file").write_text("old")
    (top / "was-directory" / "deep" / "er").mkdir(parents=True)
    (top / "was-directory" / "deep" / "er" / "x").write_text("old")
    (top / "was-directory" / "deep" / "er").chmod(0)
    (top / "was-directory").chmod(0)
    write_files(workspace, files("was-file/x", "was-directory"))
    assert read(workspace, "was-file/x", "was-directory") == {b"new"}


@pytest.mark.parametrize("mode", [0, 0o400, 0o500, 0o311])
def test_directories_that_code_has_closed_are_entered(workspace: Workspace, mode: int) -> None:
    (workspace.path / "closed").mkdir()
    (workspace.path / "closed" / "file").write_text("old")
    (workspace.path / "closed" / "other").write_text("kept")
    (workspace.path / "closed" / "file").chmod(0)
    (workspace.path / "closed").chmod(mode)
    workspace.path.chmod(0)
    write_files(workspace, files("closed/file"))
    assert read(workspace, "closed/file") == {b"new"}
    assert read(workspace, "closed/other") == {b"kept"}


def test_only_one_that_the_code_changes_is_an_artifact_however_soon_it_does(workspace: Workspace) -> None:
    names = [f"file-{number}" for number in range(50)]
    write_files(workspace, files(*names))
    before = artifacts.snapshot(workspace)
    assert artifacts.collect(workspace, before) == []
    for name in names[::2]:  # within the granularity of the kernel's clock, and of the same size
        descriptor = os.open(workspace.path / name, os.O_WRONLY)
        os.write(descriptor, b"NEW")
        os.close(descriptor)
    assert [found.path for found in artifacts.collect(workspace, before)] == sorted(names[::2])


def test_nothing_is_written_into_what_took_the_workspaces_place(workspace: Workspace) -> None:
    (workspace.path / "sub").mkdir()
    taken = Workspace(workspace.path / "sub", workspace.device, workspace.inode)
    with pytest.raises(WorkspaceError, match="is not the directory that was made"):
        write_files(taken, files("x"))


def test_what_the_disk_refuses_is_said(workspace: Workspace) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        with pytest.raises(WorkspaceError, match="the files cannot be put into the workspace: File too large"):
            write_files(workspace, files("x", content=bytes(11)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
