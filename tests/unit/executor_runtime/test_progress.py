"""Progress: what user code says in its file, and nothing that only looks like it (the seed's T064)."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from contracts.files import PROGRESS_FILE
from executor_runtime.progress import MAX_PROGRESS_BYTES, Progress, parse_progress
from executor_runtime.workspace import Workspace, Workspaces


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "root").mkdir()
    return Workspaces(tmp_path / "root").create("x")


def file_of(workspace: Workspace) -> Path:
    return workspace.path / PROGRESS_FILE


def test_what_is_written_is_read_as_often_as_it_changes(workspace: Workspace) -> None:
    progress = Progress(workspace)
    assert progress.read() is None
    for percent in (1, 2):
        file_of(workspace).write_text(json.dumps({"percent": percent, "step": "é"}))
        assert progress.read() == {"percent": percent, "step": "é"}
    assert progress.read() == {"percent": 2, "step": "é"}
    file_of(workspace).unlink()
    assert progress.read() is None


def test_what_an_earlier_execution_of_the_session_left_is_not_this_ones(workspace: Workspace) -> None:
    file_of(workspace).write_text('{"percent": 100}')
    progress = Progress(workspace)
    assert progress.read() is None
    replacement = workspace.path / "new"
    replacement.write_text('{"percent": 100}')
    replacement.rename(file_of(workspace))
    assert progress.read() == {"percent": 100}


def test_a_link_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"token": 1}')
    progress = Progress(workspace)
    file_of(workspace).symlink_to(tmp_path / "secret")
    assert progress.read() is None


def test_what_is_no_regular_file_neither_counts_nor_blocks(workspace: Workspace) -> None:
    progress = Progress(workspace)
    os.mkfifo(file_of(workspace))
    assert progress.read() is None
    file_of(workspace).unlink()
    file_of(workspace).mkdir()
    assert progress.read() is None


def test_a_lease_does_not_hold_up_the_heartbeat(workspace: Workspace) -> None:
    """The owner of a file may hold opens of it up for 45 s (fcntl(2), F_SETLEASE)."""
    progress = Progress(workspace)
    file_of(workspace).write_text('{"percent": 1}')
    # The lease's holder is told by SIGIO, which would end this process.
    descriptor = os.open(file_of(workspace), os.O_RDWR)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, 17)  # SIGCHLD, which nobody minds
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        assert progress.read() is None
    finally:
        os.close(descriptor)
    assert progress.read() == {"percent": 1}


def test_a_huge_file_is_ignored_without_being_read(workspace: Workspace) -> None:
    progress = Progress(workspace)
    with file_of(workspace).open("wb") as file:
        file.write(b'{"a": "')
        file.truncate(2**40)
    assert progress.read() is None


def test_a_workspace_that_was_exchanged_has_no_progress(workspace: Workspace) -> None:
    progress = Progress(workspace)
    workspace.path.rename(workspace.path.with_name("aside"))
    workspace.path.mkdir()
    file_of(workspace).write_text('{"percent": 1}')
    assert progress.read() is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"7",
        b"null",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": -Infinity}',
        b'{"a": 9223372036854775808}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"a":' * 700,
        b"{" + b" " * MAX_PROGRESS_BYTES + b"}",
    ],
    ids=lambda content: content[:20].decode("latin-1"),
)
def test_what_is_no_plain_object_is_ignored(content: bytes) -> None:
    assert parse_progress(content) is None


def test_an_object_of_the_largest_size_is_taken() -> None:
    content = b'{"a": "' + b"x" * (MAX_PROGRESS_BYTES - 9) + b'"}'
    assert len(content) == MAX_PROGRESS_BYTES
    assert parse_progress(content) == {"a": "x" * (MAX_PROGRESS_BYTES - 9)}
