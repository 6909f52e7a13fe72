"""Sandboxes that are started ahead: each for one execution, none with anything of another's, none that is missed."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psutil
import pytest

from tests.integration.executor.conftest import make_request
from tests.integration.executor.running import RunningExecutor, read_metric, wait_until_warm
from tests.patience import PATIENCE_S, wait_until

pytestmark = pytest.mark.sandbox
Start = Callable[..., RunningExecutor]

RANDOM = """
import os, random, secrets, tempfile, uuid
def handler(event):
    with tempfile.NamedTemporaryFile() as file:
        return [random.random(), secrets.token_hex(8), str(uuid.uuid4()), file.name, os.urandom(8).hex(),
                id(object()), str(uuid.uuid1())][:5]
"""
LEAVES = """
import builtins, json, os, sys
def handler(event):
    seen = [os.listdir("/workspace"), os.listdir("/tmp"), os.listdir("/dev/shm"), sorted(os.environ),
            hasattr(builtins, "left"), getattr(json, "left", None), "left" in sys.modules, os.getpid(), os.umask(0o777)]
    for path in ("/workspace/left", "/tmp/left", "/dev/shm/left"):
        os.close(os.open(path, os.O_CREAT))
    os.environ["LEFT"] = builtins.left = json.left = "left"
    sys.modules["left"] = os
    os.setpgid(0, 0)
    os.chdir("/")
    return seen
"""
ANSWERS = "def handler(event):\n    return event\n"


async def started(client: httpx.AsyncClient, launch_type: str) -> float:
    return await read_metric(client, "sandbox_executor_sandbox_starts_total", launch_type=launch_type)


async def run(client: httpx.AsyncClient, code: str = ANSWERS, **fields: Any) -> Any:
    answer = await client.post("/execute", json=make_request(code, **fields))
    result = answer.json()
    assert (answer.status_code, result["status"]) == (200, "success"), answer.text
    return result["return_value"]


def descendants(executor: RunningExecutor) -> list[psutil.Process]:
    return psutil.Process(executor.process.pid).children(recursive=True)


def named(executor: RunningExecutor, name: str) -> list[psutil.Process]:
    """What runs below it under this name; others may end meanwhile."""
    return [process for process in descendants(executor) if name_of(process) == name]


def name_of(process: psutil.Process) -> str:
    """Empty where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def test_what_holds_a_sandbox_has_none_of_its_pipes(start: Start) -> None:
    executor = start(WARM_SANDBOXES="2")

    async def scene() -> None:
        async with executor.client() as client:
            await wait_until_warm(client, 2)

    asyncio.run(scene())
    holding = named(executor, "bwrap")
    assert len(holding) == 4, "bwrap and its child, twice"
    for process in holding:
        folder = f"/proc/{process.pid}/fd"
        open_files = [os.readlink(f"{folder}/{number}") for number in os.listdir(folder)]
        pipes = {name for name in open_files if name.startswith("pipe:")}
        assert len(pipes) <= 2, f"the filter's, and that of stderr: {open_files}"
        assert not any("memfd" in name or name.startswith("socket:") for name in open_files), open_files


def fork_server(executor: RunningExecutor) -> psutil.Process:
    """The executor's one child that is an interpreter and no bwrap."""
    (found,) = fork_servers(executor)
    return found


def in_sandboxes(executor: RunningExecutor) -> list[psutil.Process]:
    """All that runs below it but for the fork server."""
    servers = {server.pid for server in fork_servers(executor)}
    return [process for process in descendants(executor) if process.pid not in servers]


async def until_ended(processes: list[psutil.Process]) -> None:
    """Until they run no more, waited for or not: a sandbox that is given code while it dies takes that along."""
    assert processes
    await asyncio.to_thread(wait_until, lambda: all(map(has_ended, processes)), "not all have ended")


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or a zombie: what is killed of a sandbox that waits is waited for when that ends."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def fork_servers(executor: RunningExecutor) -> list[psutil.Process]:
    """None, or more than one, only while one follows another."""
    children = psutil.Process(executor.process.pid).children()
    return [child for child in children if name_of(child) not in ("bwrap", "")]


@asynccontextmanager
async def warmed(start: Start, **environment: str) -> AsyncIterator[tuple[RunningExecutor, httpx.AsyncClient]]:
    """An executor with two sandboxes that wait."""
    executor = start(WARM_SANDBOXES="2", **environment)
    async with executor.client() as client:
        await wait_until_warm(client, 2)
        yield executor, client


async def test_an_execution_gets_one_that_waits(start: Start) -> None:
    async with warmed(start) as (_, client):
        assert await run(client, event=1) == 1
        assert (await started(client, "warm"), await started(client, "cold")) == (1, 0)
        await wait_until_warm(client, 2)


async def test_nothing_of_one_is_seen_in_the_next(start: Start) -> None:
    async with warmed(start) as (_, client):
        seen = []
        for _ in range(8):
            await wait_until_warm(client, 1)
            seen.append(await run(client, LEAVES))
        assert await started(client, "warm") == 8
    assert all(one == seen[0] for one in seen)
    assert seen[0][:3] == [[], ["handler.py"], []]
    assert not any(seen[0][4:7])


async def test_what_is_random_never_repeats(start: Start) -> None:
    async with warmed(start) as (_, client):
        drawn: list[Any] = []
        for _ in range(20):
            drawn += await run(client, RANDOM)
    assert len(set(drawn)) == len(drawn) == 100


async def test_another_size_of_tmp_starts_cold_and_then_warm(start: Start) -> None:
    code = "import os\ndef handler(event):\n    f = os.statvfs('/tmp')\n    return f.f_blocks * f.f_frsize\n"
    limits = {"tmp_bytes": 16 << 20}
    async with warmed(start) as (_, client):
        assert await run(client, code, limits=limits) == 16 << 20
        assert (await started(client, "warm"), await started(client, "cold")) == (0, 1)
        async with asyncio.timeout(PATIENCE_S):
            while await started(client, "warm") == 0:
                assert await run(client, code, limits=limits) == 16 << 20
                await wait_until_warm(client, 2)


async def test_sessions_keep_their_workspace(start: Start) -> None:
    code = "import os\ndef handler(event):\n    open(event, 'w').close()\n    return sorted(os.listdir())\n"
    async with warmed(start) as (_, client):
        assert await run(client, code, event="a", session_id="s") == ["a"]
        assert await run(client, code, event="b", session_id="s") == ["a", "b"]
        assert await started(client, "warm") == 0


async def test_none_when_none_is_wanted(start: Start) -> None:
    executor = start(WARM_SANDBOXES="0")
    async with executor.client() as client:
        assert await run(client, event="cold") == "cold"
        assert (await started(client, "warm"), await started(client, "cold")) == (0, 1)
        assert await read_metric(client, "sandbox_executor_warm_sandboxes") == 0


@pytest.mark.parametrize("victim", ["bwrap", "python3"])
async def test_one_that_ends_while_it_waits_is_missed_by_nobody(start: Start, victim: str) -> None:
    async with warmed(start) as (executor, client):
        server, killed = fork_server(executor).pid, []
        for process in named(executor, victim):
            with contextlib.suppress(psutil.NoSuchProcess):  # they end with each other
                if process.pid != server:
                    process.send_signal(signal.SIGKILL)
                    killed.append(process)
        await until_ended(killed)
        assert [await run(client, event=number) for number in range(4)] == [0, 1, 2, 3]
        await wait_until_warm(client, 2)
        assert await run(client, event="after") == "after"


async def test_an_executor_whose_fork_server_is_killed_goes_on(start: Start) -> None:
    async with warmed(start) as (executor, client):
        first, waiting = fork_server(executor), in_sandboxes(executor)
        first.send_signal(signal.SIGKILL)
        await until_ended([first, *waiting])  # those that wait die with it; one that is given code meanwhile, too
        assert [await run(client, event=number) for number in range(4)] == [0, 1, 2, 3]
        async with asyncio.timeout(PATIENCE_S):
            while fork_server_pid(executor) in (0, first.pid):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await wait_until_warm(client, 2)
        assert await run(client, event="after") == "after"


def fork_server_pid(executor: RunningExecutor) -> int:
    """0 while there is none."""
    found = fork_servers(executor)
    return found[0].pid if len(found) == 1 else 0


async def test_a_fork_server_that_hangs_costs_time_and_no_execution(start: Start) -> None:
    async with warmed(start) as (executor, client):
        fork_server(executor).send_signal(signal.SIGSTOP)
        assert [await run(client, event=number) for number in range(3)] == [0, 1, 2]


async def test_an_execution_under_way_ends_as_an_error_when_its_process_1_is_killed(start: Start) -> None:
    code = "import time\ndef handler(event):\n    open('up', 'w').close()\n    time.sleep(600)\n"
    async with warmed(start) as (executor, client):
        request = make_request(code, timeout=600)
        running = asyncio.create_task(client.post("/execute", json=request))
        await asyncio.to_thread(executor.wait_for_file, request["execution_id"], "up")
        fork_server(executor).send_signal(signal.SIGKILL)
        result = (await asyncio.wait_for(running, PATIENCE_S)).json()
    assert (result["status"], result["reason"]) == ("error", "SandboxError")


async def test_nothing_is_left_when_the_executor_ends(start: Start) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        executor = start(WARM_SANDBOXES="2")
        async with executor.client() as client:
            await wait_until_warm(client, 2)
        below = descendants(executor)
        assert len(below) >= 9
        executor.process.send_signal(number)
        executor.process.wait(PATIENCE_S)
        _, alive = psutil.wait_procs(below, timeout=PATIENCE_S)
        assert alive == []
