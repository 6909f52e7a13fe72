"""A cgroup for each run, where the executor may make some: then the kernel holds the run to its limits.

It needs a cgroup v2 hierarchy that is mounted writable with the controllers memory, pids and cpu, and whose own
cgroup belongs to the executor: in Kubernetes a runtime class of containerd with ``cgroup_writable``, and a pod with
a user namespace. What the kernel promises is in Documentation/admin-guide/cgroup-v2.rst; the names below are its.

::

    /sys/fs/cgroup/…          the container's own; may have no process once it has controllers for its children
    ├── executor/             the executor and all that was in the container's own
    └── run-0123456789abcdef/ one run
"""

import contextlib
import errno
import logging
import os
import secrets
from pathlib import Path
from typing import Final

from executor_runtime.sandbox.errors import CgroupUnavailable
from executor_runtime.sandbox.model import Limits

CONTROLLERS: Final = ("cpu", "memory", "pids")
_OWN: Final = "executor"
_RUN: Final = "run-"
_EXECUTORS_WEIGHT: Final = 1000
"""Ten times a run's: heartbeats stay in time however many processes compute."""
_ATTEMPTS: Final = 20
"""To move processes while new ones are made."""

log = logging.getLogger(__name__)


class Cgroup:
    """One run's cgroup. All methods are short writes into the kernel; moving a process may wait some 10 ms for it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, pid: int) -> None:
        """Moves a process; what it forks afterwards is in the same cgroup. Raises OSError."""
        _write(self.path / "cgroup.procs", pid)

    def was_out_of_memory(self) -> bool:
        """Whether the kernel has ended it at its own limit, and not for want of memory further up (memory.events)."""
        events = self.path / "memory.events"
        return _count(events, "oom") > 0 and _count(events, "oom_kill") > 0

    def cpu_time_s(self) -> float:
        """Of all that was in it, also of what nobody has waited for (cpu.stat)."""
        return _count(self.path / "cpu.stat", "usage_usec") / 1e6

    def kill(self) -> None:
        """All that is in it, at once (Linux 5.14)."""
        with contextlib.suppress(OSError):
            _write(self.path / "cgroup.kill", 1)

    def remove(self) -> bool:
        """Ends what is left in it, and it; False when something in it does not end."""
        self.kill()
        try:
            self.path.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


class Cgroups:
    """Makes cgroups below the executor's own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._left: list[Cgroup] = []

    def create(self, limits: Limits) -> Cgroup:
        """A cgroup with these limits, and nothing in it yet.

        Raises:
            OSError: it cannot be made.
        """
        self._left = [group for group in self._left if not group.remove()]
        group = Cgroup(self._root / f"{_RUN}{secrets.token_hex(8)}")
        group.path.mkdir()
        try:
            for name, value in _settings(limits).items():
                _write(group.path / name, value)
            with contextlib.suppress(FileNotFoundError):  # a kernel without swap has no such file
                _write(group.path / "memory.swap.max", 0)
        except OSError:
            group.remove()
            raise
        return group

    def discard(self, group: Cgroup) -> None:
        """Removes a run's cgroup, now or, if something in it does not end, when the next one is made."""
        if not group.remove():
            log.warning("a cgroup cannot be removed yet", extra={"cgroup": group.path.name})
            self._left.append(group)


def _settings(limits: Limits) -> dict[str, int]:
    return {
        "memory.max": limits.memory_bytes,
        "memory.oom.group": 1,  # half a program would be no better than none
        "pids.max": limits.processes + 1,  # process 1 is in it
    }


def prepare() -> Cgroups:
    """Cgroups for runs, as far as this process may make them.

    Raises:
        CgroupUnavailable: what is missing, in one line.
    """
    membership = Path("/proc/self/cgroup").read_text()
    own = find(Path("/proc/self/mountinfo").read_text(), membership)
    return take_over(own, is_container="0::/\n" in membership and (own / "cgroup.events").exists())


def find(mountinfo: str, membership: str) -> Path:
    """The directory of the executor's own cgroup, from /proc/self/mountinfo and /proc/self/cgroup (cgroups(7)).

    Raises:
        CgroupUnavailable: there is no cgroup v2 here, or the executor's own is not in what is mounted.
    """
    own = next((line[3:] for line in membership.splitlines() if line.startswith("0::")), None)
    if own is None:
        raise CgroupUnavailable("no cgroup v2")
    for line in mountinfo.splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] != "cgroup2":
            continue
        root, mounted_at = fields[3], Path(fields[4])
        if own == root or own.startswith(f"{root.rstrip('/')}/"):
            return mounted_at / own[len(root.rstrip("/")) :].lstrip("/")
    raise CgroupUnavailable("no cgroup v2 with the executor's own cgroup is mounted")


def take_over(own: Path, is_container: bool) -> Cgroups:
    """Makes the executor's own cgroup one for runs: moves all processes of it below, and hands controllers down.

    What an executor before this one left is ended and removed. Outside of a container only a cgroup that holds
    nothing but this process is taken: others belong to somebody's session.

    Raises:
        CgroupUnavailable: something of what runs need is missing; everything is as it was before.
    """
    if not is_container and _read(own / "cgroup.procs").split() != [str(os.getpid())]:
        raise CgroupUnavailable("the cgroup holds other processes than the executor")
    missing = [name for name in CONTROLLERS if name not in _read(own / "cgroup.controllers").split()]
    if missing:
        raise CgroupUnavailable(f"the cgroup has no controller {', '.join(missing)}")
    if not os.access(own, os.W_OK) or not os.access(own / "cgroup.procs", os.W_OK):
        raise CgroupUnavailable("the cgroup cannot be written")
    try:
        for left in own.glob(f"{_RUN}*"):
            Cgroup(left).remove()
        (own / _OWN).mkdir(exist_ok=True)
        _move_all(own, own / _OWN)
        _write(own / "cgroup.subtree_control", " ".join(f"+{name}" for name in CONTROLLERS))
        _write(own / _OWN / "cpu.weight", _EXECUTORS_WEIGHT)
        cgroups = Cgroups(own)
        cgroups.discard(cgroups.create(Limits()))
    except OSError as error:
        _give_back(own)
        what = Path(error.filename).name if isinstance(error.filename, str) else "the cgroup"
        raise CgroupUnavailable(f"{what} cannot be written: {error.strerror}") from error
    return cgroups


def _move_all(source: Path, target: Path) -> None:
    """A cgroup that hands controllers down may have no process of its own (cgroup-v2.rst, "No Internal Process")."""
    for _ in range(_ATTEMPTS):
        pids = _read(source / "cgroup.procs").split()
        if not pids:
            return
        for pid in pids:
            try:
                _write(target / "cgroup.procs", pid)
            except ProcessLookupError:  # it ended meanwhile
                continue
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(source / "cgroup.procs"))


def _give_back(own: Path) -> None:
    """As far as that is still possible; an executor without cgroups works as well."""
    with contextlib.suppress(OSError):
        _write(own / "cgroup.subtree_control", " ".join(f"-{name}" for name in CONTROLLERS))
    with contextlib.suppress(OSError, CgroupUnavailable):
        _move_all(own / _OWN, own)
    with contextlib.suppress(OSError):
        (own / _OWN).rmdir()


def _write(path: Path, value: int | str) -> None:
    """One write, as cgroupfs wants it. Never makes a file: cgroupfs has those that it has."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(value).encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise CgroupUnavailable(f"{path.name} cannot be read: {error.strerror}") from error


def _count(path: Path, name: str) -> int:
    """One number of a file of ``name number`` lines; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
