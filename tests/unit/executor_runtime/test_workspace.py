"""Workspaces: made empty, and removed whatever user code left in them."""

import os
from pathlib import Path

import pytest

from executor_runtime.sandbox import WorkspaceError
from executor_runtime.workspace import Workspaces, session_name


@pytest.fixture
def workspaces(tmp_path: Path) -> Workspaces:
    (tmp_path / "root").mkdir()
    return Workspaces(tmp_path / "root")


def test_a_workspace_is_new_empty_and_private(workspaces: Workspaces) -> None:
    first, second = workspaces.create("exec_20260115_a1b2c3d4"), workspaces.create("exec_20260115_a1b2c3d4")
    assert first.path != second.path
    for workspace in (first, second):
        assert list(workspace.path.iterdir()) == []
        assert workspace.path.stat().st_mode & 0o777 == 0o700


def test_a_session_keeps_its_workspace_and_shares_it_with_no_other(workspaces: Workspaces) -> None:
    first = workspaces.open_session("tenant.a")
    (first.path / "kept").touch()
    assert workspaces.open_session("tenant.a") == first
    assert workspaces.open_session("tenant.b").path != first.path
    assert (first.path / "kept").exists()


def test_a_session_name_is_a_short_plain_name_for_any_id() -> None:
    names = {session_name("a" * 256), session_name(".."), session_name("a/../b"), session_name("A"), session_name("a")}
    assert len(names) == 5
    assert all(len(name) < 100 and "/" not in name for name in names)


def test_a_session_that_is_a_link_is_refused(workspaces: Workspaces, tmp_path: Path) -> None:
    (tmp_path / "root" / session_name("s")).symlink_to(tmp_path)
    with pytest.raises(WorkspaceError, match="cannot be made"):
        workspaces.open_session("s")


def test_an_exchanged_workspace_does_not_open(workspaces: Workspaces, tmp_path: Path) -> None:
    workspace = workspaces.create("x")
    os.close(workspace.open())
    workspace.path.rename(tmp_path / "aside")
    workspace.path.mkdir()
    with pytest.raises(WorkspaceError, match="not the directory that was made"):
        workspace.open()
    workspace.path.rmdir()
    workspace.path.symlink_to(tmp_path / "aside")
    with pytest.raises(WorkspaceError, match="cannot be opened"):
        workspace.open()


@pytest.mark.parametrize("mode", [0, 0o400, 0o500, 0o200])
def test_a_workspace_whose_mode_was_changed_opens_and_is_private_again(workspaces: Workspaces, mode: int) -> None:
    workspace = workspaces.create("x")
    workspace.path.chmod(mode)
    os.close(workspace.open())
    assert workspace.path.stat().st_mode & 0o777 == 0o700


def test_an_exchanged_workspace_keeps_its_mode(workspaces: Workspaces, tmp_path: Path) -> None:
    workspace = workspaces.create("x")
    workspace.path.rename(tmp_path / "aside")
    workspace.path.mkdir(mode=0o500)
    with pytest.raises(WorkspaceError, match="not the directory that was made"):
        workspace.open()
    assert workspace.path.stat().st_mode & 0o777 == 0o500


def test_removal_follows_no_link(workspaces: Workspaces, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "directory").mkdir(parents=True)
    canary = outside / "canary"
    canary.write_text("alive")
    canary.chmod(0o600)
    workspace = workspaces.create("x")
    (workspace.path / "to-directory").symlink_to(outside)
    (workspace.path / "to-file").symlink_to(canary)
    below = workspace.path / "below"
    below.mkdir()
    (below / "again").symlink_to(outside / "directory")
    (below / "up").symlink_to("../../..")
    os.link(canary, below / "hard")
    workspaces.remove(workspace)
    assert not workspace.path.exists()
    assert canary.read_text() == "alive"
    assert canary.stat().st_mode & 0o777 == 0o600
    assert (outside / "directory").is_dir()


def test_removal_copes_with_directories_without_permissions(workspaces: Workspaces) -> None:
    workspace = workspaces.create("x")
    deep = workspace.path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    os.mkfifo(deep / "fifo")
    for directory in (deep, deep.parent, deep.parent.parent, workspace.path):
        directory.chmod(0)
    workspaces.remove(workspace)
    assert not workspace.path.exists()


def test_removal_copes_with_any_depth_and_any_name(workspaces: Workspaces) -> None:
    workspace = workspaces.create("x")
    here = os.open(workspace.path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(3000):
        os.mkdir(b"\xff\n" + b"d" * 200, dir_fd=here)
        below = os.open(b"\xff\n" + b"d" * 200, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    workspaces.remove(workspace)
    assert not workspace.path.exists()


def test_a_workspace_that_is_set_aside_leaves_its_name_free(workspaces: Workspaces) -> None:
    first = workspaces.open_session("s")
    (first.path / "kept").touch()
    aside = workspaces.set_aside(first)
    second = workspaces.open_session("s")
    assert (second.path, list(second.path.iterdir())) == (first.path, [])
    assert [path.name for path in aside.path.iterdir()] == ["kept"]
    os.close(aside.open())
    workspaces.remove(aside)
    assert not aside.path.exists()
    with pytest.raises(WorkspaceError, match="cannot be renamed"):
        workspaces.set_aside(aside)


def test_removing_twice_is_no_error(workspaces: Workspaces) -> None:
    workspace = workspaces.create("x")
    workspaces.remove(workspace)
    workspaces.remove(workspace)


def test_clear_removes_what_an_earlier_executor_left(workspaces: Workspaces, tmp_path: Path) -> None:
    workspaces.create("x")
    workspaces.open_session("s")
    (tmp_path / "root" / "file").touch()
    assert workspaces.clear() == 2
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["file"]


def test_a_root_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("missing", "file", "link"):
        with pytest.raises(WorkspaceError, match="WORKSPACE_PATH") as raised:
            Workspaces(tmp_path / name)
        assert "\n" not in str(raised.value)
