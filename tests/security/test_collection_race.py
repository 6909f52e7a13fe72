"""While a thread swaps files, directories and links, nothing of another's is listed, read, changed or removed.

No sandbox here: the thread is user code at its best, with nothing between it and the workspace. The executor only looks
when the run's processes are gone, but for ``.progress.json``; what it does must hold even so.
"""

import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from contracts.files import PROGRESS_FILE
from executor_runtime import artifacts
from executor_runtime.progress import Progress
from executor_runtime.sandbox import SandboxError
from executor_runtime.workspace import Workspace, Workspaces

SWAPS = 10_000
ROUNDS = 50
OWN, FOREIGN = b"own bytes", b"foreign bytes " * 333
FOREIGN_ONLY = "nobody-has-this-name-but-the-others"
BOUND_S = 60


class World:
    """A workspace, and beside it a directory of others that must stay as it is."""

    def __init__(self, root: Path) -> None:
        self.outside = root / "outside"
        for directory in (self.outside, self.outside / "below"):
            directory.mkdir()
            for name in ("file", "other", FOREIGN_ONLY):
                (directory / name).write_bytes(FOREIGN)
                (directory / name).chmod(0o444)
        (self.outside / "progress").write_text('{"foreign": true}')
        for directory in (self.outside / "below", self.outside):
            directory.chmod(0o550)
        self.workspaces = Workspaces(_made(root / "workspaces"))
        self.before = self._settle()

    def _settle(self) -> dict[str, tuple[int, ...]]:
        """What looking itself changes no more: a directory's time of access moves while it is that of its last change.

        Both are stamped by the kernel's ticks.
        """
        before = self.look_outside()
        while True:
            time.sleep(0.02)
            after = self.look_outside()
            if after == before:
                return after
            before = after

    def look_outside(self) -> dict[str, tuple[int, ...]]:
        """Path → all that a look, a change or a removal would leave behind; reading the bytes would change it too."""
        return {str(path): _trace(path) for path in sorted([self.outside, *self.outside.rglob("*")])}

    def fill(self, fifo: bool = True) -> Workspace:
        """A new workspace, each of whose entries has a twin that leads outside, or is a FIFO that nobody writes to."""
        workspace = self.workspaces.create("race")
        top = workspace.path
        for directory in (top / "directory", top / "directory" / "below", top / "deep" / "er" / "directory"):
            directory.mkdir(parents=True)
            for name in ("file", "other"):
                (directory / name).write_bytes(OWN)
        (top / "file").write_bytes(OWN)
        (top / PROGRESS_FILE).write_text('{"own": 1}')
        for name, entry, target in TWINS:
            (top / name / f"{TWIN}{entry}").symlink_to(self.outside / target)
        if fifo:
            os.mkfifo(top / "directory" / f"{TWIN}other")
        return workspace


TWIN = ".twin-of-"
TWINS = [
    ("", "file", "file"),
    ("", "directory", ""),
    ("directory", "below", "below"),
    ("directory", "file", "file"),
    ("deep/er", "directory", ""),
    ("", PROGRESS_FILE, "progress"),
]
"""(directory of the workspace, entry, where its twin leads to outside)."""


def _made(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


def _trace(path: Path) -> tuple[int, ...]:
    found = path.lstat()
    owner = (found.st_uid, found.st_gid, found.st_mode, found.st_nlink, found.st_ino, found.st_size)
    return (*owner, found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)


class Swapper:
    """Swaps each entry with its twin, again and again, until it is stopped.

    By descriptors of the directories, so that the thread itself never goes through a link of its own.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.done = 0
        names = {name for name, _, _ in TWINS}
        self._directories = {name: os.open(workspace.path / name, os.O_RDONLY | os.O_DIRECTORY) for name in names}
        self._entries = [(name, entry) for name, entry, _ in TWINS] + [("directory", "other")]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._swap_all)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(BOUND_S)
        for descriptor in self._directories.values():
            os.close(descriptor)

    def _swap_all(self) -> None:
        while not self._stop.is_set():
            name, entry = self._entries[self.done % len(self._entries)]
            directory, twin = self._directories[name], f"{TWIN}{entry}"
            for source, target in ((entry, ".aside"), (twin, entry), (".aside", twin)):
                with suppress(OSError):  # it has been removed
                    os.rename(source, target, src_dir_fd=directory, dst_dir_fd=directory)
            self.done += 1


@contextmanager
def swapping(workspace: Workspace) -> Iterator[Swapper]:
    swapper = Swapper(workspace)
    swapper.start()
    try:
        yield swapper
    finally:
        swapper.stop()
        assert not swapper.running


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def collect(workspace: Workspace) -> list[tuple[str, int]]:
    """(path, size) as the executor lists them."""
    return [(found.path, found.size) for found in artifacts.collect(workspace, {})]


def read(workspace: Workspace, path: str) -> bytes:
    """An artifact's bytes as the API answers with them; none for one that is not there."""
    try:
        found = artifacts.open_artifact(workspace, path)
    except artifacts.ArtifactNotFound:
        return b""
    with open(found.descriptor, "rb") as file:
        return file.read()


def naive_collect(workspace: Workspace) -> list[tuple[str, int]]:
    """The same as one would write it at first: it looks, and then uses the name."""
    found = []
    for directory, _, names in os.walk(workspace.path):
        for name in names:
            path = Path(directory, name)
            with suppress(OSError):
                if not name.startswith(".") and not path.is_symlink() and path.is_file():
                    found.append((str(path.relative_to(workspace.path)), path.stat().st_size))
    return found


def naive_read(workspace: Workspace, path: str) -> bytes:
    whole = workspace.path / path
    with suppress(OSError):
        if not whole.is_symlink() and stat.S_ISREG(whole.lstat().st_mode):
            return whole.read_bytes()
    return b""


def naive_progress(workspace: Workspace) -> dict[str, Any] | None:
    path = workspace.path / PROGRESS_FILE
    with suppress(OSError):
        if not path.is_symlink():
            value: dict[str, Any] = json.loads(path.read_bytes())
            return value
    return None


def naive_remove(workspace: Workspace) -> None:
    for directory, below, names in os.walk(workspace.path, topdown=False):
        with suppress(OSError):
            os.chmod(directory, 0o700)
            for name in [*names, *below]:
                path = os.path.join(directory, name)
                (os.rmdir if os.path.isdir(path) and not os.path.islink(path) else os.unlink)(path)


PATHS = [
    *("file", "directory/file", "directory/other", "directory/below/file", "deep/er/directory/file"),
    *(f"directory/{FOREIGN_ONLY}", f"directory/below/{FOREIGN_ONLY}", f"deep/er/directory/below/{FOREIGN_ONLY}"),
]


def find_leaks(
    world: World,
    listing: Callable[[Workspace], list[tuple[str, int]]],
    reading: Callable[[Workspace, str], bytes],
    progress: Callable[[Workspace], dict[str, Any] | None],
    fifo: bool = True,
) -> tuple[set[str], set[str]]:
    """(what leaked, what was seen of the workspace's own) while all swaps are made, in ``ROUNDS`` looks or more."""
    workspace = world.fill(fifo)
    leaks, own = set(), set()
    with swapping(workspace) as swapper:
        rounds = 0
        while swapper.done < SWAPS or rounds < ROUNDS:
            rounds += 1
            listed = listing(workspace)
            leaks |= {f"listed {path}" for path, size in listed if size == len(FOREIGN) or FOREIGN_ONLY in path}
            own |= {"listed" for _, size in listed if size == len(OWN)}
            for path in PATHS:
                content = reading(workspace, path)
                leaks |= {f"read {path}"} if b"foreign" in content else set()
                own |= {"read"} if content == OWN else set()
            said = progress(workspace) or {}
            leaks |= {"progress"} if "foreign" in said else set()
            own |= {"progress"} if "own" in said else set()
    return leaks, own


def test_a_collection_during_ten_thousand_swaps_yields_nothing_foreign(world: World) -> None:
    def progress(workspace: Workspace) -> dict[str, Any] | None:
        reporting = Progress(workspace)
        # So that each reading counts as new: what is in the file before the run is not reported.
        reporting._before = None
        return reporting.read()

    leaks, own = find_leaks(world, collect, read, progress)
    assert leaks == set()
    assert own == {"listed", "read", "progress"}
    assert world.look_outside() == world.before


def test_a_naive_collection_leaks(tmp_path: Path) -> None:
    """The proof that the test above could fail: the same, by names that were looked at before; on a FIFO it hangs."""
    leaks: set[str] = set()
    for number in range(20):
        world = World(_made(tmp_path / str(number)))
        leaks |= find_leaks(world, naive_collect, naive_read, naive_progress, fifo=False)[0]
        if {"progress"} < leaks and any("listed" in leak for leak in leaks) and any("read" in leak for leak in leaks):
            return
    pytest.fail(f"only {leaks} leaked")


def remove_all(world: World, remove: Callable[[Workspace], None]) -> int:
    """How many swaps were made while workspaces were removed."""
    swaps = 0
    while swaps < SWAPS:
        workspace = world.fill()
        with swapping(workspace) as swapper:
            while swapper.done < 50:
                pass
            for _ in range(3):  # the thread may put back what was just removed
                with suppress(SandboxError, OSError):
                    remove(workspace)
        swaps += swapper.done
        with suppress(SandboxError):
            world.workspaces.remove(workspace)
    return swaps


def test_a_removal_during_ten_thousand_swaps_touches_nothing_outside(world: World) -> None:
    assert remove_all(world, world.workspaces.remove) >= SWAPS
    assert world.look_outside() == world.before
    assert list(world.workspaces._root.iterdir()) == []


def test_clearing_after_a_crash_during_swaps_touches_nothing_outside(world: World) -> None:
    def clear(_: Workspace) -> None:
        world.workspaces.clear()

    assert remove_all(world, clear) >= SWAPS
    assert world.look_outside() == world.before


def test_a_naive_removal_touches_what_is_outside(tmp_path: Path) -> None:
    for number in range(20):
        world = World(_made(tmp_path / str(number)))
        remove_all(world, naive_remove)
        if world.look_outside() != world.before:
            return
    pytest.fail("nothing outside was touched")
