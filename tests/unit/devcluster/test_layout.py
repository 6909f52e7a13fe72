"""Names and folders."""

from pathlib import Path

import pytest

from devcluster.errors import DevclusterError
from devcluster.layout import Layout

HOME = {"HOME": "/home/a"}


def test_folders_follow_the_xdg_variables() -> None:
    plain = Layout.of("x", HOME)
    assert plain.cache == Path("/home/a/.cache/sandbox-executor")
    assert plain.state == Path("/home/a/.local/state/sandbox-executor/x")
    moved = Layout.of("x", {**HOME, "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"})
    assert (moved.cache, moved.state) == (Path("/c/sandbox-executor"), Path("/s/sandbox-executor/x"))


def test_two_clusters_share_builds_and_nothing_else() -> None:
    one, two = Layout.of("one", HOME), Layout.of("two", HOME)
    assert one.cache == two.cache
    for part in ("state", "run", "netns", "cgroup", "lock", "logs", "socket"):
        assert getattr(one, part) != getattr(two, part)


def test_another_state_folder_is_another_cluster_even_with_the_same_name() -> None:
    one, two = Layout.of("x", HOME), Layout.of("x", {**HOME, "DEVCLUSTER_STATE": "/elsewhere"})
    assert two.state == Path("/elsewhere/x")
    for part in ("state", "run", "netns", "cgroup", "lock"):
        assert getattr(one, part) != getattr(two, part)


def test_the_socket_stays_within_what_the_kernel_allows() -> None:
    layout = Layout.of("x" * 40, {"HOME": "/h" * 100, "DEVCLUSTER_STATE": "/long" * 40})
    assert len(str(layout.socket)) < 108


@pytest.mark.parametrize("name", ["", "UPPER", "a/b", "../x", "-a", "a-", "x" * 41, "a b"])
def test_a_name_that_could_not_be_a_folder_or_a_container_is_refused(name: str) -> None:
    with pytest.raises(DevclusterError) as caught:
        Layout.of(name, HOME)
    assert caught.value.hint
