"""Mixed load on one executor for a while; afterwards nothing may be left of it (SC-005).

``make soak`` runs ten minutes, a test half a minute. Descriptors, threads, processes, namespaces, mounts and files must
be what they were after the warm-up. Memory must have levelled off: an executor keeps the results of the last 1,000
executions, at most 64 MiB of them, which the warm-up fills, and each id for a day (``executor_runtime.records``). So it
may grow by about half a KiB for each execution, and by what its allocator keeps: ``MEMORY_SLACK_MB``. What it
grows beyond that from the middle to the end, it leaks.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import httpx
import psutil

from executor_runtime.records import MAX_RESULT_BYTES
from tests.fakes.control_plane import FakeControlPlane
from tests.integration.executor.running import RunningExecutor, open_directory, run_executor

CLIENTS = 5
RETENTION_S = 1.0
OUTAGE_EVERY_S = 15.0
MEMORY_SLACK_MB = 12.0
MEMORY_PER_EXECUTION_MB = 0.0005
OUTPUT_BYTES = 2_000_000
IDLE_CONNECTIONS = 20
"""That an executor keeps to its Control Plane (``executor_runtime.control_plane``)."""

Request = dict[str, Any]
Load = Callable[["Soak", Request], Awaitable[None]]
_numbers = itertools.count()
WARM = 2
PROGRAMS = 1 if shutil.which("node") else 0
"""Sandboxes in which node waits, once somebody has asked: the warm-up does."""
PROCESSES_OF_ONE = 5
"""Of a sandbox that waits: keeper, bwrap, holder, process 1, and what will be the user's. One more forks them all."""


@dataclass(frozen=True)
class Held:
    """What an executor holds at one moment."""

    memory_mb: float
    threads: int
    descriptors: list[str]
    """But for connections."""
    connections: int
    processes: list[str]
    """Below it, and anywhere those that name its directory."""
    namespaces: int
    """Other than its own, of processes below it and of its descriptors."""
    mounts: int
    files: list[str]

    @classmethod
    def by(cls, executor: RunningExecutor) -> "Held":
        """Looks (proc(5))."""
        process = psutil.Process(executor.process.pid)
        proc = Path("/proc", str(process.pid))
        links = [_readlink(entry.path) for entry in _scan(str(proc / "fd"))]
        below = [child.pid for child in process.children(recursive=True)]
        own = {_readlink(str(entry)) for entry in (proc / "ns").iterdir()}
        seen = {_readlink(entry.path) for pid in below for entry in _scan(f"/proc/{pid}/ns")}
        return cls(
            memory_mb=process.memory_info().rss / 2**20,
            threads=process.num_threads(),
            descriptors=sorted(_unnumbered(link) for link in links if not link.startswith("socket:")),
            connections=sum(link.startswith("socket:") for link in links),
            processes=sorted(map(_name, {*below, *_naming(str(executor.directory))} - {process.pid})),
            namespaces=len((seen | {link for link in links if ":[" in link and "ns:" in link}) - own),
            mounts=len((proc / "mounts").read_text().splitlines()),
            files=sorted(
                _unnumbered(str(path))
                for path in executor.directory.rglob("*")
                if path.name not in ("workspaces", "results")
            ),
        )

    @property
    def is_calm(self) -> bool:
        """Whether nothing runs, and as many sandboxes wait as should, each with an empty workspace."""
        at_rest = len(self.files) == WARM + PROGRAMS and all(path.endswith("/warm-") for path in self.files)
        return at_rest and len(self.processes) == 1 + PROCESSES_OF_ONE * (WARM + PROGRAMS)


def _unnumbered(link: str) -> str:
    """Without what differs from one pipe, and from one sandbox that waits, to the next."""
    return re.sub(r"\[\d+\]|(?<=warm-)[0-9a-f]+", "", link)


def _name(pid: int) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).name()
    return "ended"


def _readlink(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""


def _scan(path: str) -> list["os.DirEntry[str]"]:
    with contextlib.suppress(OSError):
        return list(os.scandir(path))
    return []


def _naming(directory: str) -> list[int]:
    """Processes whose command line has the directory in it: every bwrap of this executor, whoever its parent is now."""
    found = psutil.process_iter(["cmdline"])
    return [process.pid for process in found if any(directory in word for word in process.info["cmdline"] or ())]


@dataclass
class Soak:
    """The load, and what came of it."""

    client: httpx.AsyncClient
    control_plane: FakeControlPlane
    executor: RunningExecutor
    ids: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    memory_mb: list[tuple[int, float]] = field(default_factory=list)
    """(executions so far, resident)"""

    async def post(self, request: Request, **headers: str) -> httpx.Response:
        """Insists while the queue is full."""
        self.ids.add(request["execution_id"])
        while True:
            answer = await self.client.post("/execute", json=request, headers=headers)
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(0.05)

    async def expect(self, request: Request, status: str, reason: str) -> dict[str, Any]:
        """Runs it; it must end like this."""
        answer = await self.post(request)
        result: dict[str, Any] = answer.json()
        if (result.get("status"), result.get("reason")) != (status, reason):
            raise AssertionError(f"{status} {reason} was expected of {request}; the answer is {answer.text[:2000]}")
        return result


def make_request(code: str, **fields: Any) -> Request:
    """With an id of its own."""
    return {"code": code, "language": "python", "execution_id": f"exec_20260115_s{next(_numbers):07d}", **fields}


def ends(status: str, reason: str, code: str, **fields: Any) -> Load:
    """A load that sends one request and knows how it ends."""

    async def run(soak: Soak, _: Request) -> None:
        await soak.expect(make_request(code, **fields), status, reason)

    return run


async def cancel(soak: Soak, request: Request) -> None:
    """Accepted, then cancelled, queued or running."""
    await soak.post(request, Prefer="respond-async")
    answer = await soak.client.delete(f"/executions/{request['execution_id']}")
    if answer.json()["result"]["reason"] != "Cancelled":
        raise AssertionError(answer.text)


async def repeat(soak: Soak, request: Request) -> None:
    """One id several times at once, both ways, and once with another request."""
    ways = [{}, {"Prefer": "respond-async"}, {}]
    answers = await asyncio.gather(*(soak.post(request, **way) for way in ways))
    other = await soak.post({**request, "timeout": 7})
    codes = [answer.status_code for answer in answers] + [other.status_code]
    values = {answer.json()["return_value"] for answer in answers if answer.status_code == 200}
    if codes != [200, 202, 200, 409] or len(values) != 1:
        raise AssertionError(f"{codes} {values}")


async def fetch_artifact(soak: Soak, request: Request) -> None:
    """Made, listed, fetched."""
    result = await soak.expect(request, "success", "Completed")
    path = f"/executions/{request['execution_id']}/artifacts/{result['artifacts'][0]}"
    if (await soak.client.get(path)).content != b"x" * 100_000:
        raise AssertionError(path)


async def be_refused(soak: Soak, request: Request) -> None:
    """A bad request leaves no trace, either."""
    answer = await soak.client.post("/execute", json={**request, "timeout": 0})
    if answer.status_code != 400:
        raise AssertionError(answer.text)


DAEMON = """
import os, signal, time

def handler(event):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
"""
WAIT = "import time\ndef handler(event):\n    time.sleep(600)\n"
RANDOM = "import os\ndef handler(event):\n    return os.urandom(8).hex()\n"
MAKE = "import os\ndef handler(event):\n    os.mkdir('out')\n    open('out/a.bin', 'w').write('x' * 100_000)\n"
APPEND = "def handler(event):\n    open('n', 'a').write('x')\n"
MARKED = "===SANDBOX_RESULT==="
LARGE = ends("success", "Completed", f"def handler(event):\n    print('x' * {OUTPUT_BYTES})\n")
LOADS: list[tuple[str, Load, str]] = [
    ("success", ends("success", "Completed", "def handler(event):\n    return event\n", event={"n": 1}), ""),
    ("raises", ends("failed", "HandlerRaised", "def handler(event):\n    raise ValueError(event)\n"), ""),
    ("no handler", ends("failed", "HandlerMissing", "x = 1\n"), ""),
    ("timeout", ends("timeout", "TimedOut", WAIT, timeout=1), ""),
    ("daemon", ends("success", "Completed", DAEMON), ""),
    ("output", LARGE, ""),
    ("session", ends("success", "Completed", APPEND, session_id="s"), ""),
    ("memory", ends("failed", "MemoryLimit", "def handler(event):\n    x = bytearray(60 << 20)\n    while 1: pass\n",
                    limits={"memory_bytes": 32 << 20}), ""),
    ("shell", ends("success", "Completed", f"echo '{MARKED}7{MARKED}'", language="shell"), ""),
    ("killed", ends("failed", "Signaled", "kill -9 $$", language="shell"), ""),
    ("javascript", ends("success", "Completed", f"console.log('{MARKED}7{MARKED}')", language="javascript"), ""),
    ("cancel", cancel, WAIT),
    ("repeat", repeat, RANDOM),
    ("artifact", fetch_artifact, MAKE),
    ("bad", be_refused, RANDOM),
]  # fmt: skip


async def work(soak: Soak, until: float, seed: int, least: int = 0) -> None:
    """One client: one load after the other, in an order of its own, and so many of them however long that takes."""
    order = random.Random(seed)  # noqa: S311 - an order, no secret
    has_node = shutil.which("node") is not None
    done = 0
    while time.monotonic() < until or done < least:
        name, load, code = order.choice(LOADS)
        if name == "javascript" and not has_node:
            continue
        await load(soak, make_request(code))
        soak.counts[name] += 1
        done += 1


async def watch(soak: Soak, interval_s: float) -> None:
    """Notes the memory, and has the Control Plane fail for a second now and then."""
    process = psutil.Process(soak.executor.process.pid)
    last_outage = time.monotonic()
    while True:
        soak.memory_mb.append((soak.counts.total(), process.memory_info().rss / 2**20))
        await asyncio.sleep(interval_s)
        if time.monotonic() - last_outage > OUTAGE_EVERY_S:
            soak.control_plane.always("result", 503)
            await asyncio.sleep(1)
            soak.control_plane.always("result", None)
            last_outage = time.monotonic()


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Soak]:
    """An executor with a Control Plane, and one client of it."""
    async with FakeControlPlane() as control_plane:
        environment = {
            "CONTROL_PLANE_URL": control_plane.url,
            "INTERNAL_API_TOKEN": "token-of-the-soak",
            "WORKSPACE_RETENTION_SECONDS": str(RETENTION_S),
            "SESSION_RETENTION_SECONDS": str(RETENTION_S),
            "WARM_SANDBOXES": str(WARM),
            "WARM_JAVASCRIPT": str(PROGRAMS),
        }
        with run_executor(directory, **environment) as executor:
            async with executor.client() as client:
                yield Soak(client, control_plane, executor)


async def settle(soak: Soak) -> Held:
    """What is held when everything is reported and every retention is over."""
    deadline = time.monotonic() + 120
    while True:
        await asyncio.sleep(0.5)
        calls = soak.control_plane.of("result")
        accepted = {call.execution_id for call in calls if call.answered in (200, 201, 409)}
        held = Held.by(soak.executor)
        if soak.ids <= accepted and held.is_calm:
            await asyncio.sleep(1)
            return Held.by(soak.executor)
        if time.monotonic() > deadline:
            raise AssertionError(f"not reported: {soak.ids - accepted}; left: {held.files} {held.processes}")


def find_leaks(before: Held, after: Held, memory_mb: list[tuple[int, float]]) -> list[str]:
    """What is not as it was, in words."""
    leaks = []
    for name in (each.name for each in fields(Held)):
        was, now = getattr(before, name), getattr(after, name)
        if name == "memory_mb":
            executions, at_half = memory_mb[len(memory_mb) // 2]
            allowed = at_half + MEMORY_SLACK_MB + MEMORY_PER_EXECUTION_MB * (memory_mb[-1][0] - executions)
            leaks += [f"memory: {at_half:.0f} MiB at half time, {now:.0f} at the end"] if now > allowed else []
        elif name == "connections":
            leaks += [f"connections: {was}, then {now}"] if now > was + IDLE_CONNECTIONS else []
        elif name == "threads":
            # asyncio's pool for blocking work grows to its bound when many things block at once, and stays.
            bound = was + min(32, (os.cpu_count() or 1) + 4)
            leaks += [f"threads: {was}, then {now}"] if now > bound else []
        elif was != now:
            leaks.append(f"{name}: {was}, then {now}")
    return leaks


async def run_soak(seconds: float, directory: Path, least: int = 0) -> tuple[Soak, Held, Held, list[str]]:
    """(the soak, what was held after the warm-up, and at the end, what leaked); each client does ``least`` loads."""
    async with opened(directory) as soak:
        for name, load, code in LOADS:
            if name != "javascript" or shutil.which("node"):
                await load(soak, make_request(code))
        for _ in range(MAX_RESULT_BYTES // OUTPUT_BYTES + 1):
            await LARGE(soak, {})
        before = await settle(soak)
        watching = asyncio.create_task(watch(soak, max(seconds / 40, 0.2)))
        try:
            async with asyncio.TaskGroup() as clients:
                for seed in range(CLIENTS):
                    clients.create_task(work(soak, time.monotonic() + seconds, seed, least))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        soak.control_plane.always("result", None)
        after = await settle(soak)
        health = (await soak.client.get("/health")).json()
        if (health["status"], health["active_executions"]) != ("healthy", 0):
            raise AssertionError(health)
        return soak, before, after, find_leaks(before, after, soak.memory_mb)


def main() -> int:
    """Soaks and tells; 1 when something leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    with open_directory() as directory:
        soak, before, after, leaks = asyncio.run(run_soak(options.minutes * 60, directory))
    print(", ".join(f"{count} × {name}" for name, count in sorted(soak.counts.items())))
    print(f"{len(soak.ids)} executions, each reported")
    at_half = soak.memory_mb[len(soak.memory_mb) // 2][1]
    print(f"memory: {before.memory_mb:.0f} MiB, {at_half:.0f} at half time, {after.memory_mb:.0f} at the end")
    for name in ("threads", "connections", "namespaces", "mounts"):
        print(f"{name}: {getattr(before, name)}, {getattr(after, name)}")
    for name in ("descriptors", "processes", "files"):
        print(f"{name}: {len(getattr(before, name))}, {len(getattr(after, name))}")
    print("\n".join(leaks) or "nothing leaked")
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
