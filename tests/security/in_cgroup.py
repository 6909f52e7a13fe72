"""What ``test_cgroup`` has done in a kernel with cgroup v2, as uid 1000 in a cgroup of its own, as an executor."""

import asyncio
import errno
import os
import subprocess
import time
from pathlib import Path
from typing import Any
from unittest import mock

from executor_runtime import privileges
from executor_runtime.sandbox import Job, Limits, RawRun, Sandbox, probe
from executor_runtime.sandbox.cgroup import Cgroup
from executor_runtime.workspace import Workspaces
from tests.security.usermode import give

CGROUP = Path("/sys/fs/cgroup")
PLACE = Path("/run/executor")
MIB = 1 << 20

WHERE = """
import os
where = open("/proc/self/cgroup").read()
def is_open(number):
    try: return bool(os.fstat(number))
    except OSError: return False
def handler(event): return [where, [number for number in range(100) if is_open(number)]]
"""
HONEST = "import time\ndef handler(event):\n  time.sleep(2)\n  return 'fine'"
MEMORY = "def handler(event):\n  kept = []\n  while True: kept.append(b'x' * 1_000_000)"
SOCKETS = """
import socket
def handler(event):
    kept = []
    while True:
        for end in socket.socketpair():
            end.setblocking(False)
            kept.append(end)
            try:
                while True: end.send(bytes(60_000))
            except BlockingIOError: pass
"""
PROCESSES = """
import os, time
def handler(event):
    made = 0
    while True:
        try:
            if os.fork() == 0: time.sleep(60)
            made += 1
        except OSError as error:
            return [made, error.errno]
"""
ENDLESS = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
NOW = "import time\nbegan = time.time()\nopen('ran', 'w').close()\ndef handler(event): return began"


class Scene:
    """One executor's sandboxes and what was seen of them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.workspaces = Workspaces(PLACE / "workspaces")

    async def run(self, code: str, timeout_s: float = 60, **limits: int) -> dict[str, Any]:
        workspace = self.workspaces.create("x")
        job = Job("exec_20260115_a1b2c3d4", "python", code, workspace, timeout_s, limits=Limits(**limits))
        raw = await self._sandbox.run(job, asyncio.Event())
        files = os.listdir(workspace.path)
        self.workspaces.remove(workspace)
        return {**describe(raw), "files": files}


def describe(raw: RawRun) -> dict[str, Any]:
    returned = (raw.returned or b"").decode().removeprefix("returned\n")
    return {
        "ending": raw.ending,
        "exit_code": raw.exit_code,
        "returned": returned,
        "failure": raw.failure,
        "cpu_time_s": raw.usage.cpu_time_s,
        "duration_s": raw.usage.duration_s,
        "stderr": raw.stderr.text[-500:],
    }


def leave_behind() -> subprocess.Popen[bytes]:
    """What an executor that was killed leaves: a run's cgroup with something in it."""
    left = subprocess.Popen(["sleep", "1000"])
    (CGROUP / "run-left").mkdir()
    (CGROUP / "run-left" / "cgroup.procs").write_text(str(left.pid))
    return left


def read(path: str) -> str:
    return Path(path).read_text()


def runs() -> list[str]:
    return [path.name for path in CGROUP.iterdir() if path.is_dir() and path.name != "executor"]


async def see_placement(scene: Scene) -> dict[str, Any]:
    """Each run waits for its placement, however long that takes."""
    seen: dict[str, Any] = {}
    add = Cgroup.add

    def slow(group: Cgroup, pid: int) -> None:
        time.sleep(1)
        names = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max")
        seen["settings"] = {
            name: (group.path / name).read_text().strip() for name in names if (group.path / name).exists()
        }
        seen["placed_at"] = time.time()
        add(group, pid)

    with mock.patch.object(Cgroup, "add", slow):
        seen["run"] = await scene.run(NOW, memory_bytes=64 * MIB, processes=20)
    return seen


async def see_failed_placement(scene: Scene) -> dict[str, Any]:
    refusal = OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    with mock.patch.object(Cgroup, "add", side_effect=refusal):
        return await scene.run(NOW)


async def see_endless(scene: Scene) -> dict[str, Any]:
    """The soonest of up to three ends: this kernel gets what others leave of the machine's CPUs."""
    for _ in range(3):
        run = await scene.run(ENDLESS, timeout_s=3, processes=60)
        if run["ending"] != "timed_out" or run["duration_s"] < 10:
            break
    return run


async def main() -> dict[str, Any]:
    left = leave_behind()
    isolation = await probe("strict")
    scene = Scene(Sandbox(isolation))
    found: dict[str, Any] = {
        "enforcement": isolation.limits_enforcement,
        "shortfall": isolation.cgroups_shortfall,
        "left": [left.poll(), runs()],
        "own": read("/proc/self/cgroup"),
        "weight": read("/sys/fs/cgroup/executor/cpu.weight"),
        "first_instruction": await scene.run(WHERE),
        "placement": await see_placement(scene),
        "failed_placement": await see_failed_placement(scene),
        "processes": await scene.run(PROCESSES, processes=20),
        "endless": await see_endless(scene),
    }
    for name, code in (("memory", MEMORY), ("sockets", SOCKETS)):
        bomb, honest = await asyncio.gather(scene.run(code, memory_bytes=64 * MIB), scene.run(HONEST))
        found[name] = {"bomb": bomb, "honest": honest}
    return {**found, "left_at_the_end": runs()}


if __name__ == "__main__":
    privileges.drop_or_refuse([PLACE / "workspaces"])
    privileges.set_non_dumpable()
    give(asyncio.run(main()))
