"""What is read from /proc."""

from pathlib import Path

import pytest

from devcluster import host
from devcluster.errors import MissingTools

V1 = """\
30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,name=systemd
33 30 0:29 / /sys/fs/cgroup/pids rw,nosuid shared:12 - cgroup cgroup rw,pids
"""
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_a_machine_with_controllers_on_v1_counts_as_v1() -> None:
    assert host.is_cgroup_v1(V1)


def test_a_machine_whose_only_v1_hierarchy_is_systemds_own_does_not() -> None:
    assert not host.is_cgroup_v1(V2)
    assert not host.is_cgroup_v1("\n".join(V1.splitlines()[:3]))


@pytest.mark.parametrize(("bounding", "expected"), [("000001fffeffffff", False), ("000001ffffffffff", True)])
def test_the_capability_is_looked_up_in_the_bounding_set(tmp_path: Path, bounding: str, expected: bool) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t{bounding}\n")
    assert host.has_cap_sys_resource(status) is expected


def test_without_root_a_missing_package_is_named_with_the_command_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "is_root", lambda: False)
    monkeypatch.setattr(host, "find", lambda command: None)
    with pytest.raises(MissingTools) as caught:
        host.ensure(["dockerd", "docker", "ip"], tmp_path / "log", "a Docker Engine")
    assert caught.value.hint == "as root: apt-get install docker.io iproute2"


def test_nothing_is_installed_when_all_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "find", lambda command: Path("/bin") / command)
    host.ensure(["dockerd", "ip"], tmp_path / "log", "a Docker Engine")
    assert not (tmp_path / "log").exists()
