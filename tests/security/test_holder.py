"""What holds a forked sandbox's namespaces: bwrap that has made everything, and starts nothing in it."""

import asyncio
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor_runtime.sandbox.argv import build_holder_argv
from executor_runtime.sandbox.fork_server import STDERR, Holder
from executor_runtime.sandbox.model import build_start
from executor_runtime.sandbox.probe import probe_levels

pytestmark = pytest.mark.sandbox
INFO_FD = 3


class Place:
    """A workspace, and the file that bwrap complains in."""

    def __init__(self, path: Path) -> None:
        self.workspace = path / "workspace"
        self.workspace.mkdir()
        self._stderr = os.open(path / "stderr", os.O_CREAT | os.O_RDWR)

    def hold(self) -> Holder:
        """A holder of a sandbox with this workspace."""
        start = build_start(asyncio.run(probe_levels(("full",))), self.workspace, 2**20, INFO_FD)
        return Holder(build_holder_argv(start), INFO_FD, self._stderr)

    def said(self) -> str:
        """What bwrap has written."""
        return os.pread(self._stderr, 4096, 0).decode()

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self._stderr)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    here = Place(tmp_path)
    yield here
    here.close()


def mounts_of(pid: int) -> set[str]:
    return {line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}


def test_no_program_is_started_and_all_is_mounted(place: Place) -> None:
    holder = place.hold()
    holder.check()
    assert Path(f"/proc/{holder.pid}/comm").read_text() == "bwrap\n"
    assert mounts_of(holder.pid) >= {"/", "/usr", "/dev", "/proc", "/tmp", "/workspace"}
    assert os.stat(f"/proc/{holder.pid}/root/workspace").st_ino == place.workspace.stat().st_ino
    assert not os.path.exists(f"/proc/{holder.pid}/root/etc/passwd"), "the old root is gone"
    holder.end()
    assert not os.path.exists(f"/proc/{holder.pid}")
    assert place.said() == ""


def test_it_ends_without_a_word_when_whoever_holds_it_has_ended(place: Place) -> None:
    """What it writes would be taken for user code's."""
    holder = place.hold()
    os.close(holder._hold)
    pid, status = os.waitpid(holder._bwrap, 0)
    assert (pid, os.WIFEXITED(status)) == (holder._bwrap, True), "bwrap has seen its child's end"
    assert not os.path.exists(f"/proc/{holder.pid}")
    assert place.said() == ""


def test_bwrap_says_why_there_is_none(place: Place) -> None:
    place.workspace.rmdir()
    with pytest.raises(OSError, match="bwrap has not made the sandbox"):
        place.hold()
    assert place.said().startswith("bwrap: Can't find source path")


def test_one_that_has_ended_is_not_taken_for_one_that_holds(place: Place) -> None:
    holder = place.hold()
    holder.end()
    with pytest.raises(FileNotFoundError):
        holder.check()


def test_bwrap_that_is_not_done_is_not_taken_for_one_that_is(place: Place, tmp_path: Path) -> None:
    """A bwrap that read its filter before it mounts would look ready too early."""
    early = tmp_path / "bwrap"
    early.write_text(
        "#!/bin/sh\n"
        "sleep 60 3>&- & child=$!\n"  # as root it has capabilities, as bwrap has while it mounts
        'echo "{\\"child-pid\\": $child, }" >&3\n'
        "exec 3>&-\n"
        "head -c 16 >/dev/null\n"
        "wait\n"
    )
    early.chmod(early.stat().st_mode | stat.S_IXUSR)
    holder = Holder([str(early)], INFO_FD, STDERR)
    try:
        with pytest.raises(OSError, match="has not finished"):
            holder.check()
    finally:
        holder.end()
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{holder.pid}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
