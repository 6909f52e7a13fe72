"""Ends and removes all that an own engine leaves behind, also after a crash.

Nothing is looked for by name of process. The engine and every container it starts live below one cgroup
that only we put processes in, so its members are ours, whoever started them and whether or not they
were ever recorded.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from devcluster import host, state
from devcluster.commands import output, succeeds
from devcluster.errors import DevclusterError
from devcluster.layout import Layout
from devcluster.state import Process

_KILL_S = 30.0


def cgroups(layout: Layout, mountinfo: str | None = None) -> list[Path]:
    """Our group in each hierarchy, where it is there."""
    mounts = host.cgroup_mounts(mountinfo if mountinfo is not None else host.mountinfo())
    groups = [Path(mount) / layout.cgroup for mount in mounts]
    return [group for group in groups if group.is_dir()]


def members(groups: Iterable[Path]) -> set[int]:
    """Every process in these groups and below them."""
    found: set[int] = set()
    for group in groups:
        for file in group.rglob("cgroup.procs"):
            try:
                found.update(int(pid) for pid in file.read_text().split())
            except (FileNotFoundError, OSError):
                continue  # the group went away while we were reading
    return found - {0, os.getpid()}


def kill_all(layout: Layout, recorded: Iterable[Process]) -> None:
    """SIGKILL until nothing of ours is left: no gentle stop, because nothing that it would save is kept."""
    known = list(recorded)
    deadline = time.monotonic() + _KILL_S
    while pids := members(cgroups(layout)) | {each.pid for each in known if state.alive(each)}:
        if time.monotonic() > deadline:
            raise DevclusterError(f"processes {sorted(pids)} do not die", hint="see `ps -o stat,wchan`")
        for pid in pids:
            _kill(pid)
        time.sleep(0.05)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def remove_cgroups(layout: Layout) -> None:
    for group in cgroups(layout):
        folders = [path for path in group.rglob("*") if path.is_dir()]
        for folder in [*sorted(folders, key=lambda p: len(p.parts), reverse=True), group]:
            try:
                folder.rmdir()
            except OSError:
                time.sleep(0.1)  # the kernel lets go of a killed process's group a little later
                if folder.is_dir():
                    succeeds(["rmdir", folder])


def mounts_below(folders: Iterable[Path], mountinfo: str) -> list[str]:
    """Mount points under ``folders``, the last mounted first."""
    points = [_unescaped(line.split()[4]) for line in mountinfo.splitlines()]
    roots = [f"{folder}/" for folder in folders]
    return [point for point in reversed(points) if any(f"{point}/".startswith(r) for r in roots)]


def unmount(folders: Iterable[Path]) -> None:
    for point in mounts_below(folders, host.mountinfo()):
        if not succeeds(["umount", point]):
            succeeds(["umount", "--lazy", point])


def remove_netns(layout: Layout) -> None:
    """The veth pair has both its ends inside and goes with it."""
    if layout.netns_path.exists():
        output(["ip", "netns", "delete", layout.netns])


def clean(layout: Layout, processes: Iterable[Process]) -> None:
    """Everything of an own engine but its logs; safe to repeat, safe after a crash at any point."""
    kill_all(layout, processes)
    unmount([layout.run, layout.data_root, layout.state / "containerd"])
    remove_cgroups(layout)
    remove_netns(layout)
    for folder in (layout.run, layout.data_root, layout.state / "containerd"):
        remove_folder(folder)


def leftovers(layout: Layout) -> list[str]:
    """What a run left that was killed before it could record anything, or whose record is lost."""
    paths = [*cgroups(layout), layout.netns_path, layout.run, layout.data_root]
    return [str(path) for path in paths if path.exists()]


def remove_folder(folder: Path) -> None:
    if mounts_below([folder], host.mountinfo()):
        raise DevclusterError(f"something is still mounted below {folder}, not removing it")
    shutil.rmtree(folder, ignore_errors=True)


def _unescaped(path: str) -> str:
    """mountinfo writes blanks in paths as \\040."""
    return path.encode().decode("unicode_escape") if "\\" in path else path
