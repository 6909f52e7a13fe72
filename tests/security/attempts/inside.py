"""Process 1 of a stage: sets it, then reads one attempt a line and answers with what came of it (``stage``)."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from tests.security.attempts import catalogue
from tests.security.attempts.executor import Executor
from tests.security.attempts.listeners import Listeners, add_addresses
from tests.security.attempts.performance import perform
from tests.security.attempts.world import World

_LINE_BYTES: Final = 2**20
_LOW_PIDS: Final = 10_000


def main() -> None:
    """What needs capabilities first, then the rest without."""
    level, place, whose, screen, line = sys.argv[1:]
    _be_process_1()
    _skip_low_pids()
    add_addresses()
    listeners = Listeners(Path(place))
    if whose == "user":
        _give_up_capabilities()
    world = World(Path(place), listeners, (int(screen), int(line)))
    asyncio.run(_serve(world, Executor(world, "full" if level == "full" else "reduced")))


def _be_process_1() -> None:
    """The kernel then keeps from us what an attacker sends to everything (kill(2), pid_namespaces(7))."""
    assert os.getpid() == 1, "not alone in a pid namespace"
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _skip_low_pids() -> None:
    """No pid of the stage is one of the attacker's own as well (proc(5), ns_last_pid; not every kernel has it)."""
    with contextlib.suppress(OSError):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(_LOW_PIDS))


def _give_up_capabilities() -> None:
    """All that ``enter`` took along (capset(2), version 3): what the stage starts has none, as in a pod."""
    result = ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
    assert result == 0, "capabilities cannot be given up"


async def _serve(world: World, executor: Executor) -> None:
    lines = asyncio.StreamReader(limit=_LINE_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with world, executor:
        while line := await lines.readline():
            try:
                answer = await _make(world, executor, json.loads(line))
            except Exception as error:
                answer = {"failure": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)
            await _mend(world, executor)


async def _make(world: World, executor: Executor, asked: dict[str, Any]) -> dict[str, Any]:
    await executor.be_without(asked["without"])
    attempt = catalogue.find(asked["module"], asked["name"])
    return (await perform(world, executor, attempt, asked["beside"])).as_json()


async def _mend(world: World, executor: Executor) -> None:
    """What an attempt that succeeded has broken must not be laid at the next one's door."""
    while world.processes_now():
        for pid in world.surplus_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    _reap({world.facts()["victim_pid"], world.facts().get("executor_pid", 0)})
    if not await executor.healthy():
        await executor.stop()


def _reap(ours: set[int]) -> None:
    """Orphans come to process 1; the executor and the victim are waited for where they were started."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        children = {int(pid) for pid in file.read().split()}
    for pid in children - ours:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


if __name__ == "__main__":
    main()
