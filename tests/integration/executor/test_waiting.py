"""A node that waits for its code: it does what one does that is started with it, and never waits for two."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.integration.executor.conftest import make_request
from tests.integration.executor.running import RunningExecutor, read_metric
from tests.integration.executor.test_warm import named, started, until_ended
from tests.patience import PATIENCE_S, wait_until

pytestmark = pytest.mark.sandbox
Start = Callable[..., RunningExecutor]

WAITING = {"WARM_SANDBOXES": "0", "WARM_JAVASCRIPT": "1"}
LOOKS = """
const fs = require('fs')
const read = name => { try { return fs.readFileSync(name, 'utf8') } catch (error) { return error.code } }
const status = read('/proc/self/status').split('\\n').filter(
  line => /^(Umask|PPid|NSpid|Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Sig(Blk|Ign|Cgt)|ShdBlk|Threads)/.test(line))
const files = fs.readdirSync('/proc/self/fd').map(number => {
  let target = ''
  try { target = fs.readlinkSync('/proc/self/fd/' + number) } catch { return null }
  return [number, target.replace(/[0-9]+/g, '0')]
}).filter(file => file)
process.stdin.on('data', data => console.log('stdin', String(data))).on('end', () => console.log('end'))
console.log(JSON.stringify({
  argv: process.argv, execArgv: process.execArgv, env: process.env, order: Object.keys(process.env), cwd: process.cwd(),
  title: process.title, ppid: process.ppid, umask: process.umask(), file: __filename, isMain: require.main === module,
  paths: module.paths, id: module.id, cache: Object.keys(require.cache), globals: Object.keys(globalThis),
  limits: read('/proc/self/limits'), environ: read('/proc/self/environ'), cmdline: read('/proc/self/cmdline'),
  tmp: fs.readdirSync('/tmp'), workspace: fs.readdirSync('.'), own: read(__filename).length,
  isFile: fs.statSync(__filename).isFile(), mode: fs.statSync(__filename).mode, event: read(process.env.EVENT_FILE),
  heap: require('v8').getHeapStatistics().heap_size_limit, oom: read('/proc/self/oom_score_adj'),
  nice: read('/proc/self/stat').split(' ')[18],
  tty: [0, 1, 2].map(number => require('tty').isatty(number)), locale: Intl.DateTimeFormat().resolvedOptions(),
  processes: fs.readdirSync('/proc').filter(name => /^[0-9]+$/.test(name)).length, status, files,
}))
"""
FORKS = """
const { fork } = require('child_process')
const { Worker, isMainThread } = require('worker_threads')
if (process.send) { process.send('child') } else if (isMainThread) {
  fork(__filename).on('message', message => console.log(message)).on('exit', () => new Worker(__filename))
} else console.log('worker')
"""
CODE = {
    "looks": LOOKS,
    "forks and threads of itself": FORKS,
    "module": "import fs from 'fs'\nconst me = new URL(import.meta.url)\nconsole.log(me, fs.readFileSync(me).length)",
    "await": "await new Promise(done => setTimeout(done, 1))\nconsole.log(typeof require)\n",
    "syntax": "let a = 1\nlet a = 2\n",
    "throws": "#!/usr/bin/env node\n'use strict'\nfunction broken() { throw new TypeError('broken') }\nbroken()\n",
    "rejects": "Promise.reject(new Error('nobody'))\n",
    "exits": "process.on('exit', code => console.log('exit', code))\nprocess.exitCode = 7\n",
    "signal": "process.kill(process.pid, 'SIGTERM')\nsetTimeout(() => {}, 5000)\n",
    "empty": "",
    "large": f"const text = '{'x' * 300_000}'\nconsole.log(text.length)\n",
    "letters": "console.log('é€😀'.length, '\\ud83d'.length)\n",
}


@asynccontextmanager
async def executor_with(start: Start, **environment: str) -> AsyncIterator[tuple[RunningExecutor, httpx.AsyncClient]]:
    executor = start(**environment)
    async with executor.client() as client:
        yield executor, client


async def run(client: httpx.AsyncClient, code: str, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/execute", json=make_request(code, **{"language": "javascript", **fields}))
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def wait_until_forked(client: httpx.AsyncClient) -> None:
    """Until process 1 is forked: there is one process more then, and so the limit is (decision 0012)."""
    async with asyncio.timeout(PATIENCE_S):
        while (await run(client, "ulimit -u", language="shell"))["stdout"] != "130\n":  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def wait_until_it_waits(client: httpx.AsyncClient, count: int = 1) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await read_metric(client, "sandbox_executor_warm_javascript") != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def seen_by_user(result: dict[str, Any]) -> Any:
    """What must not depend on how it was started."""
    kept = {name: result[name] for name in ("status", "reason", "exit_code", "stdout", "stderr")}
    with_json = kept["stdout"].partition("\n")
    if with_json[0].startswith("{"):
        kept["stdout"] = (json.loads(with_json[0]), with_json[2])
    return kept


async def test_user_code_cannot_tell_it_from_one_that_starts_with_it(start: Start, tmp_path: Path) -> None:
    fields = {"stdin": "what it reads", "event": {"n": [1]}}
    async with executor_with(start, WARM_SANDBOXES="0", WARM_JAVASCRIPT="0") as (_, client):
        await wait_until_forked(client)
        cold = {name: seen_by_user(await run(client, code, **fields)) for name, code in CODE.items()}
        assert await started(client, "warm") == 0
    warm = {}
    async with executor_with(start, **WAITING) as (_, client):
        await wait_until_forked(client)
        was_cold = await started(client, "cold")
        await run(client, "")
        for name, code in CODE.items():
            await wait_until_it_waits(client)
            warm[name] = seen_by_user(await run(client, code, **fields))
        assert (await started(client, "warm"), await started(client, "cold")) == (len(CODE), was_cold + 1)
    assert cold["looks"]["stdout"][0]["tmp"] == ["event.json", "handler.js"]
    assert cold["looks"]["stdout"][1] == "stdin what it reads\nend\n"
    assert cold["forks and threads of itself"]["stdout"] == "child\nworker\n"
    looks = [seen["looks"]["stdout"][0] for seen in (cold, warm)]
    assert {name: (looks[1][name], value) for name, value in looks[0].items() if looks[1][name] != value} == {}
    for name in CODE:
        assert warm[name] == cold[name], name


async def test_none_waits_until_somebody_asks_and_none_when_none_is_wanted(start: Start) -> None:
    async with executor_with(start, **WAITING) as (_, client):
        assert (await client.post("/execute", json=make_request())).json()["status"] == "success"
        await asyncio.sleep(0.5)
        assert await read_metric(client, "sandbox_executor_warm_javascript") == 0
    async with executor_with(start, WARM_SANDBOXES="1", WARM_JAVASCRIPT="0") as (executor, client):
        await run(client, "")
        await asyncio.sleep(0.5)
        assert not named(executor, "node")


async def test_a_variable_makes_it_start_anew(start: Start) -> None:
    async with executor_with(start, **WAITING) as (_, client):
        await run(client, "")
        await wait_until_it_waits(client)
        result = await run(client, "console.log(new Date(0).getHours())", env_vars={"TZ": "Asia/Kolkata"})
        assert result["stdout"] == "5\n"
        assert (await started(client, "warm"), await started(client, "cold")) == (0, 2)
        assert await read_metric(client, "sandbox_executor_warm_javascript") == 1


async def test_other_limits_start_anew_and_then_wait(start: Start) -> None:
    code = "console.log(/open files +(\\d+) +(\\d+)/.exec(require('fs').readFileSync('/proc/self/limits'))[2])"
    limits = {"open_files": 200}
    async with executor_with(start, **WAITING) as (_, client):
        await run(client, "")
        await wait_until_it_waits(client)
        assert (await run(client, code, limits=limits))["stdout"] == "200\n"
        assert await started(client, "cold") == 2
        await wait_until_it_waits(client)
        assert (await run(client, code, limits=limits))["stdout"] == "200\n"
        assert await started(client, "warm") == 1
        await wait_until_it_waits(client)
        assert (await run(client, code))["stdout"] == "1024\n"


async def test_limits_that_are_watched_from_outside_need_no_other_one(start: Start) -> None:
    async with executor_with(start, **WAITING) as (_, client):
        await run(client, "")
        await wait_until_it_waits(client)
        code = "require('fs').writeFileSync('large', Buffer.alloc(2 << 20))"
        result = await run(client, code, limits={"workspace_bytes": 1 << 20})
        assert (result["status"], result["reason"]) == ("failed", "DiskLimit")
        assert await started(client, "warm") == 1


async def test_its_memory_is_bounded(start: Start) -> None:
    async with executor_with(start, **WAITING) as (_, client):
        await run(client, "")
        await wait_until_it_waits(client)
        code = "const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1))"
        assert (await run(client, code))["reason"] == "MemoryLimit"
        assert await started(client, "warm") == 1


@pytest.mark.parametrize("victim", ["node", "bwrap"])
async def test_one_that_ends_while_it_waits_is_missed_by_nobody(start: Start, victim: str) -> None:
    async with executor_with(start, **WAITING) as (executor, client):
        await run(client, "")
        await wait_until_it_waits(client)
        victims = named(executor, victim)
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):  # they end with each other
                process.send_signal(signal.SIGKILL)
        await until_ended(victims)
        assert (await run(client, "console.log('there')"))["stdout"] == "there\n"
        await wait_until_it_waits(client)
        assert (await run(client, "console.log('again')"))["stdout"] == "again\n"


async def test_one_that_stops_while_it_waits_is_missed_by_nobody(start: Start) -> None:
    async with executor_with(start, **WAITING) as (executor, client):
        await run(client, "")
        await wait_until_it_waits(client)
        (node,) = named(executor, "node")
        node.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(wait_until, lambda: has_stopped(node), "it does not stop")
        assert (await run(client, "console.log('there')"))["stdout"] == "there\n"


def has_stopped(process: psutil.Process) -> bool:
    """Whether it runs no more: it stops when it gets a processor, and its sandbox ends when that is noticed."""
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def test_nobody_asks_and_it_ends(directory: Path) -> None:
    environment = {"ISOLATION_MODE": "strict", **WAITING}
    executor = RunningExecutor(directory, environment, ("tests.integration.executor.impatient",))
    try:
        async with executor.client() as client:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await run(client, "")
                    with contextlib.suppress(TimeoutError):  # seen too late, it has ended again
                        async with asyncio.timeout(4):
                            await wait_until_it_waits(client)
                        break
            await wait_until_it_waits(client, 0)
        waiting = named(executor, "node")
        assert psutil.wait_procs(waiting, timeout=PATIENCE_S)[1] == []
    finally:
        executor.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_it_ends_with_the_executor(start: Start, number: signal.Signals) -> None:
    async with executor_with(start, **WAITING) as (executor, client):
        await run(client, "")
        await wait_until_it_waits(client)
    waiting = named(executor, "node")
    assert len(waiting) == 1
    executor.process.send_signal(number)
    executor.process.wait(PATIENCE_S)
    assert psutil.wait_procs(waiting, timeout=PATIENCE_S)[1] == []
