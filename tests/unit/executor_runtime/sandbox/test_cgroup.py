"""Finding the executor's own cgroup, and refusing what is none that can be taken over.

The directories here only look like cgroups: they show that nothing is left behind when a file is missing or cannot be
written. What the kernel does is in tests/security/test_cgroup.py.
"""

import os
from pathlib import Path

import pytest

from executor_runtime.sandbox.cgroup import find, take_over
from executor_runtime.sandbox.errors import CgroupUnavailable

UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "31 23 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    "32 31 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
PART = "40 23 0:26 /kubepods/pod1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "membership", "own"),
    [
        (UNIFIED, "0::/\n", "/sys/fs/cgroup"),
        (UNIFIED, "0::/user.slice/x.service\n", "/sys/fs/cgroup/user.slice/x.service"),
        (HYBRID, "4:memory:/a\n0::/b\n", "/sys/fs/cgroup/unified/b"),
        (PART, "0::/kubepods/pod1\n", "/sys/fs/cgroup"),
        (PART, "0::/kubepods/pod1/c\n", "/sys/fs/cgroup/c"),
    ],
)
def test_the_own_cgroup_is_found_where_it_is_mounted(mountinfo: str, membership: str, own: str) -> None:
    assert find(mountinfo, membership) == Path(own)


@pytest.mark.parametrize(
    ("mountinfo", "membership", "says"),
    [
        (UNIFIED, "4:memory:/a\n", "no cgroup v2"),
        ("", "0::/\n", "mounted"),
        (PART, "0::/kubepods/pod10\n", "mounted"),
    ],
)
def test_without_one_it_is_said(mountinfo: str, membership: str, says: str) -> None:
    with pytest.raises(CgroupUnavailable, match=says):
        find(mountinfo, membership)


def make(own: Path, **files: str) -> None:
    for name, text in {"cgroup.controllers": "cpu io memory pids", "cgroup.procs": "", **files}.items():
        (own / name).write_text(text)


def test_missing_controllers_are_named(tmp_path: Path) -> None:
    make(tmp_path, **{"cgroup.controllers": "io pids"})
    with pytest.raises(CgroupUnavailable, match="no controller cpu, memory"):
        take_over(tmp_path, is_container=True)


def test_somebodys_session_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path, **{"cgroup.procs": f"{os.getpid()}\n{os.getppid()}\n"})
    with pytest.raises(CgroupUnavailable, match="other processes"):
        take_over(tmp_path, is_container=False)
    assert not (tmp_path / "executor").exists()


@pytest.mark.parametrize("missing", ["cgroup.controllers", "cgroup.procs", "cgroup.subtree_control"])
def test_what_cannot_be_taken_over_is_given_back(tmp_path: Path, missing: str) -> None:
    make(tmp_path, **{"cgroup.subtree_control": ""})
    (tmp_path / missing).unlink()
    with pytest.raises(CgroupUnavailable):
        take_over(tmp_path, is_container=True)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
