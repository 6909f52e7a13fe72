"""However a run ends, nothing of it is left, and in time (the seed's T019, T046)."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from executor_runtime.sandbox.process import Process
from tests.security.conftest import Driver, best

pytestmark = pytest.mark.sandbox

DAEMON = """
import os, signal, sys, time
def spawn_daemon():
    if os.fork() == 0:
        os.setsid()
        for number in set(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.closerange(0, 100)
            os.execv("/usr/bin/sleep", ["sleep", MARKER])
        os._exit(0)
    os.wait()
    time.sleep(0.2)  # so that it is there before what is tested happens
"""
FORK_BOMB = """
import os, time
def handler(event):
    made = 0
    while True:
        try:
            if os.fork() == 0:
                time.sleep(60)
            made += 1
        except OSError as error:
            return [made, error.errno]
"""


def running_with(marker: str) -> list[int]:
    """Pids on this host whose command line holds the marker."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def marker_of(number: int) -> str:
    """A number of seconds that no other process sleeps."""
    return f"{100_000 + os.getpid()}.{number:06d}"


def with_daemon(marker: str, rest: str) -> str:
    return f"MARKER = {marker!r}\n{DAEMON}\n{rest}"


def test_the_daemon_of_these_tests_is_visible_while_it_runs(full: Driver) -> None:
    """Else the tests below could not fail."""
    marker = marker_of(0)
    rest = """
import subprocess
def handler(event):
    spawn_daemon()
    return subprocess.run(['pgrep', '-f', '^sleep ' + MARKER], capture_output=True, text=True).stdout.split()
"""
    assert len(full.run(with_daemon(marker, rest)).result["return_value"]) == 1


def test_timeout_kills_a_daemon_that_ignores_signals(driver: Driver) -> None:
    marker = marker_of(1)
    run = driver.run(with_daemon(marker, "def handler(event): spawn_daemon(); time.sleep(60)"), timeout_s=1)
    assert run.ending == "timed_out"
    assert running_with(marker) == []


def test_timeout_keeps_partial_output_and_is_exact(driver: Driver) -> None:
    """In one of three: others may use the machine, so that the code does not come so far, or its end comes late."""
    code = """
import sys, time
print('out')
print('err', file=sys.stderr)
sys.stdout.write('no newline')
sys.stdout.flush()
time.sleep(60)
"""
    timeouts_s = iter((1, 3, 9))

    def make(timeout_s: float) -> SimpleNamespace:
        run = driver.run(code, timeout_s=timeout_s)
        assert (run.result["status"], run.result["reason"], run.result["exit_code"]) == ("timeout", "TimedOut", -1)
        assert run.duration_s >= timeout_s
        return run

    run = best(lambda: make(next(timeouts_s)), lambda run: bool(run.stderr))
    assert (run.stdout, run.stderr) == ("out\nno newline", "err\n")
    run = best(lambda: make(1), lambda run: run.duration_s <= 1.1 + run.late_s)
    assert run.duration_s <= 1.1 + run.late_s


def test_an_orphan_does_not_outlive_a_run_that_succeeds(driver: Driver) -> None:
    marker = marker_of(2)
    run = driver.run(with_daemon(marker, "def handler(event): spawn_daemon(); return 'done'"))
    assert (run.ending, run.result["return_value"]) == ("exited", "done"), "its end was not waited for: it has none"
    assert running_with(marker) == []


def test_an_orphan_does_not_outlive_a_run_that_is_killed_by_itself(full: Driver) -> None:
    marker = marker_of(3)
    run = full.run(with_daemon(marker, "def handler(event): spawn_daemon(); os.kill(os.getpid(), signal.SIGKILL)"))
    assert run.signal == 9
    assert running_with(marker) == []


def test_cancel_kills_the_tree(driver: Driver) -> None:
    marker = marker_of(4)
    rest = "def handler(event): print('before'); spawn_daemon(); open('ready', 'w').close(); time.sleep(60)"

    def make() -> SimpleNamespace:
        run = driver.run(with_daemon(marker, rest), cancel_at_file="ready")
        assert run.result["reason"] == "Cancelled"
        assert run.result["status"] == "failed"
        assert run.stdout == "before\n"
        assert running_with(marker) == []
        return run

    assert best(make, lambda run: run.cancelled_s < 0.8).cancelled_s < 0.8


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.005, 0.01, 0.02])
def test_cancel_works_at_any_moment_of_the_start(full: Driver, after_s: float) -> None:
    marker = marker_of(5)

    def make() -> SimpleNamespace:
        run = full.run(f"import os\nos.execv('/usr/bin/sleep', ['sleep', {marker!r}])", cancel_after_s=after_s)
        assert run.ending == "cancelled"
        assert running_with(marker) == []
        return run

    assert best(make, lambda run: run.cancelled_s < 1).cancelled_s < 1


async def test_a_start_that_hangs_leaves_nothing() -> None:
    """bwrap's child waits for bwrap before it is told to die with it; here both wait for ever."""
    marker = marker_of(8)
    waits = f"import os; os.fork(); os.execv('/usr/bin/sleep', ['sleep', '{marker}'])"
    process = Process([sys.executable, "-c", waits], (subprocess.DEVNULL,) * 3, ())
    await asyncio.to_thread(wait_until, lambda: len(running_with(marker)) == 2)
    assert await process.kill()
    process.close()
    await asyncio.to_thread(wait_until, lambda: running_with(marker) == [])


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.5])
def test_an_interrupted_run_is_killed_before_the_interruption_goes_on(full: Driver, after_s: float) -> None:
    marker = marker_of(6)
    before = full.held()
    run = full.run(f"import os\nos.execv('/usr/bin/sleep', ['sleep', {marker!r}])", interrupt_after_s=after_s)
    assert run.interrupted
    assert running_with(marker) == []
    after = full.held()
    assert (after["children"], after["descriptors"]) == (before["children"], before["descriptors"])


def test_everything_ends_with_the_executor() -> None:
    marker = marker_of(7)
    driver = Driver("full")
    try:
        driver.send_only(f"import os\nos.execv('/usr/bin/sleep', ['sleep', {marker!r}])", timeout_s=60)
        wait_until(lambda: running_with(marker) != [])
        driver.kill()
        wait_until(lambda: running_with(marker) == [])
    finally:
        driver.close()


def wait_until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Looks again and again until it is true."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_signals_to_process_1_do_nothing(full: Driver) -> None:
    code = "import os, signal\ndef handler(event):\n  for n in range(1, 32): os.kill(1, n)\n  return 'alive'"
    assert full.run(code).result["return_value"] == "alive"


def test_killing_everything_in_sight_ends_only_itself(driver: Driver) -> None:
    before = driver.held()["children"]
    code = """
import os, time
def handler(event):
    if os.fork() == 0: time.sleep(60)
    os.kill(-1, 9)  # spares the caller (kill(2))
    return os.waitstatus_to_exitcode(os.wait()[1])
"""
    assert driver.run(code).result["return_value"] == -9
    assert driver.held()["children"] == before


def test_a_fork_bomb_is_contained(driver: Driver) -> None:
    bomb, neighbour = driver.run_all(
        [
            {"code": FORK_BOMB},
            {"code": "import os\ndef handler(event): os.wait() if os.fork() else os._exit(0); return 1"},
        ]
    )
    assert bomb.result["return_value"] == [127, 11]  # of 128 the handler's own process is one
    assert neighbour.result["return_value"] == 1


def test_a_fork_bomb_that_never_stops_is_killed_in_time(full: Driver) -> None:
    code = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"

    def make() -> SimpleNamespace:
        run = full.run(code, timeout_s=1, limits={"processes": 64})
        assert run.ending == "timed_out"
        assert full.held()["children"] == 0
        return run

    assert best(make, lambda run: run.duration_s < 3).duration_s < 3


def test_memory_over_the_limit_ends_the_run_and_no_neighbour(driver: Driver) -> None:
    bomb, neighbour = driver.run_all(
        [
            {
                "code": "def handler(event):\n  kept = []\n  while True: kept.append(b'x' * 4_000_000)",
                "limits": {"memory_bytes": 128 << 20},
            },
            {"code": "import time\ndef handler(event): time.sleep(1); return 'fine'"},
        ]
    )
    assert bomb.result["reason"] == "MemoryLimit"
    assert bomb.result["status"] == "failed"
    assert bomb.peak_memory_bytes > 128 << 20
    assert neighbour.result["return_value"] == "fine"


def test_memory_is_counted_over_the_whole_tree(full: Driver) -> None:
    code = """
import os, time
def handler(event):
    for _ in range(4):
        if os.fork() == 0:
            kept = os.urandom(50_000_000)
            time.sleep(60)
    time.sleep(60)
"""
    assert full.run(code, limits={"memory_bytes": 150 << 20}).ending == "memory_limit"


def test_memory_that_forked_processes_share_is_counted_once(full: Driver) -> None:
    code = """
import os, time
kept = os.urandom(60_000_000)
def handler(event):
    children = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            time.sleep(1)
            os._exit(0)
        children.append(pid)
    return [os.waitpid(pid, 0)[1] for pid in children]
"""
    assert full.run(code, limits={"memory_bytes": 200 << 20}).result["return_value"] == [0] * 6


def test_the_cpu_limit_ends_the_run(full: Driver) -> None:
    """The kernel notices by its ticks, on a busy machine a tenth too early: so with a bare process beside it."""
    with ThreadPoolExecutor(1) as beside:
        bare = beside.submit(use_a_second)
        run = full.run("while True: pass", limits={"cpu_seconds": 1})
    assert run.result["reason"] == "Signaled"
    assert "CPU" in run.result["message"]
    assert 0.85 * bare.result() < run.cpu_time_s < 1.5


def use_a_second() -> float:
    """CPU seconds of a process without a sandbox that ends by the same limit."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGXCPU
    return used.ru_utime + used.ru_stime


def test_a_file_over_its_limit_ends_a_program_that_does_not_look(full: Driver) -> None:
    code = """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.execv('/usr/bin/head', ['head', '-c', '9999999', '/dev/zero'])
"""
    code = code.replace("os.execv", "os.dup2(os.open('big', os.O_CREAT | os.O_WRONLY), 1)\nos.execv")
    run = full.run(code, limits={"file_size_bytes": 100_000})
    assert run.result["reason"] == "DiskLimit"


def test_limits_are_the_seeds(full: Driver) -> None:
    run = full.run(
        """
import resource as r
def handler(event):
    return [r.getrlimit(kind)[0] for kind in (r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_CORE)]
"""
    )
    assert run.result["return_value"] == [130, 1024, 0]  # 128 for user code, two are process 1 and the holder


def test_cpu_time_counts_descendants_that_have_ended(driver: Driver) -> None:
    code = """
import os, time
def burn():
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
def handler(event):
    pid = os.fork()
    if pid == 0:
        burn()
        os._exit(0)
    os.waitpid(pid, 0)
"""
    run = best(lambda: driver.run(code), lambda run: run.cpu_time_s < 0.6)
    assert 0.3 <= run.cpu_time_s < 0.6


def test_cpu_time_of_a_killed_run_is_known(driver: Driver) -> None:
    """It shares the machine's CPUs: in one of three it gets some of a second."""

    def make() -> SimpleNamespace:
        run = driver.run("while True: pass", timeout_s=1)
        assert run.cpu_time_s < run.duration_s + 0.2
        return run

    assert best(make, lambda run: run.cpu_time_s > 0.05).cpu_time_s > 0.05


def test_cpu_time_is_the_users_alone(full: Driver) -> None:
    """Best of three: on a busy machine the same work takes more of it."""

    def make() -> float:
        cpu_time_s: float = full.run("def handler(event): return 1").cpu_time_s
        return cpu_time_s

    assert best(make, lambda spent_s: spent_s < 0.05) < 0.05
