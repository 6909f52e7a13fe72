"""A start that cannot work ends with one line on stderr and exit code 1 (the seed's T010, T055, T056)."""

import os
import re
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.integration.executor.running import RunningExecutor
from tests.patience import PATIENCE_S, TRIES, wait_until

pytestmark = pytest.mark.sandbox

Start = Callable[..., RunningExecutor]


def refused_start(start: Start, **environment: str) -> str:
    """The one line."""
    executor = start(**environment)
    assert executor.process.wait(PATIENCE_S) == 1
    lines = executor.stderr().splitlines()
    assert len(lines) == 1, lines
    assert executor.raw_log == []
    return lines[0]


def test_a_wrong_value_is_named_with_an_example(start: Start) -> None:
    line = refused_start(start, EXECUTOR_PORT="http\n8080")
    assert re.fullmatch(r"executor: EXECUTOR_PORT is 'http\\n8080', which .*; for example EXECUTOR_PORT=8080", line)


def test_a_missing_token_is_named(start: Start) -> None:
    assert "INTERNAL_API_TOKEN is missing" in refused_start(start, CONTROL_PLANE_URL="http://127.0.0.1:1")


def test_a_missing_bwrap_is_named(start: Start, directory: Path) -> None:
    assert "bwrap" in refused_start(start, PATH=str(directory))


def test_an_executor_shows_nothing_of_itself_to_others_of_its_uid(start: Start) -> None:
    """What is not dumpable belongs to root in /proc, whoever it runs as (proc(5))."""
    executor = start()
    executor.wait_for_log("executor_started")
    entry = Path("/proc") / str(executor.process.pid)
    status = dict(line.split(":\t", 1) for line in (entry / "status").read_text().splitlines())
    assert status["Uid"].split() == [status["Uid"].split()[0]] * 4
    assert status["Uid"].split()[0] != "0"
    assert status["NoNewPrivs"] == "1"
    assert {(entry / name).stat().st_uid for name in ("environ", "fd", "mem", "maps")} == {0}


def test_the_log_says_who_holds_the_limits(start: Start) -> None:
    started = start().wait_for_log("executor_started")
    assert started["limits_enforcement"] in ("cgroup", "watchdog")
    assert bool(started["no_cgroups_because"]) is (started["limits_enforcement"] == "watchdog")


def test_a_workspace_that_is_no_directory_is_named(start: Start, directory: Path) -> None:
    (directory / "workspaces").write_text("a file")
    assert str(directory / "workspaces") in refused_start(start)


def test_a_port_in_use_is_named(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refused_start(start, EXECUTOR_PORT=port)
    assert f"EXECUTOR_PORT {port}" in line
    assert "in use" in line


def test_what_an_earlier_executor_left_in_the_workspaces_is_removed(start: Start, directory: Path) -> None:
    first = start()
    first.wait_for_log("executor_started")
    left = first.workspaces / "exec_20260115_left0000-x" / "deep"
    left.mkdir(parents=True)
    (left / "file").write_text("x")
    owner = first.workspaces.stat()
    for path in (left.parent, left, left / "file"):
        os.chown(path, owner.st_uid, owner.st_gid)
    first.process.kill()
    first.process.wait(PATIENCE_S)
    second = start()
    second.wait_for_log("executor_started")
    there = [path.name for path in second.workspaces.iterdir() if not path.name.startswith("warm-")]
    assert there == [], "but for those of sandboxes that it has started ahead since"


def test_it_runs_without_privileges_and_out_of_the_reach_of_its_own_uid(start: Start) -> None:
    executor = start()
    executor.wait_for_log("executor_started")
    process = Path("/proc") / str(executor.process.pid)
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert "0" not in status["Uid"].split()
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    # The files of a process that is not dumpable belong to root (proc(5)).
    assert (process / "mem").stat().st_uid == 0


def test_a_signal_during_the_start_ends_it_quietly(start: Start) -> None:
    """Within two seconds, on a machine that has the time for it."""
    for _ in range(TRIES):
        executor = start(LOG_LEVEL="DEBUG")
        wait_until(partial(catches_sigterm, executor.process.pid), "it installs no handler")
        code, seconds = executor.terminate()
        assert (code, executor.stderr()) == (143, "")
        if seconds < 2.0:
            break
    assert seconds < 2.0


def catches_sigterm(pid: int) -> bool:
    """The first that there is of its start to wait for, long before it listens (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) & 1 << (signal.SIGTERM - 1))
