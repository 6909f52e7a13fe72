"""What belongs to a cluster is found by place, never by name."""

from pathlib import Path

from devcluster.layout import Layout
from devcluster.reaper import cgroups, members, mounts_below

LAYOUT = Layout.of("x", {"HOME": "/home/a"})


def _group(path: Path, *pids: int) -> None:
    path.mkdir(parents=True)
    (path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))


def test_our_group_is_looked_for_in_every_hierarchy(tmp_path: Path) -> None:
    lines = [f"1 1 0:1 / {tmp_path}/{name} rw - cgroup cgroup rw,{name}" for name in ("pids", "memory", "cpu")]
    for name in ("pids", "memory"):
        _group(tmp_path / name / LAYOUT.cgroup)
    _group(tmp_path / "cpu" / "docker")
    found = cgroups(LAYOUT, "\n".join(lines))
    assert found == [tmp_path / name / LAYOUT.cgroup for name in ("pids", "memory")]


def test_members_are_those_of_all_groups_below_each_once(tmp_path: Path) -> None:
    _group(tmp_path / "pids", 10)
    _group(tmp_path / "pids/engine", 11, 12)
    _group(tmp_path / "pids/container/kubelet/pod", 13)
    _group(tmp_path / "memory/container", 13, 0)
    assert members([tmp_path / "pids", tmp_path / "memory"]) == {10, 11, 12, 13}


def test_only_mounts_below_our_folders_are_taken_the_last_one_first() -> None:
    points = ["/", "/run/ours", "/run/ours/a", "/run/ours-not", "/run/ours/with\\040blank"]
    info = "\n".join(f"{i} 1 0:1 / {point} rw - tmpfs t rw" for i, point in enumerate(points))
    assert mounts_below([Path("/run/ours")], info) == ["/run/ours/with blank", "/run/ours/a", "/run/ours"]
