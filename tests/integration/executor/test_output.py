"""Live output: real executors, real sandboxes, real connections that break."""

import asyncio
import hashlib
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from contracts.executor_api import EPOCH_HEADER
from contracts.output_events import MAX_CHUNK_BYTES, Position
from tests.fakes.control_plane import FakeControlPlane
from tests.integration.executor.conftest import HELD, TOKEN, make_request
from tests.integration.executor.following import Followed, follow
from tests.integration.executor.running import RunningExecutor, read_metric, wait_until_warm
from tests.memory import MIB, Peak
from tests.patience import PATIENCE_S, TRIES, eventually, time_limits

pytestmark = pytest.mark.sandbox

ASYNC = {"Prefer": "respond-async"}
SAY = {
    "python": "import sys\ndef handler(event):\n    print('out ä', flush=True)\n    print('err', file=sys.stderr)\n",
    "javascript": "process.stdout.write('out ä\\n', () => process.stderr.write('err\\n'));\n",
    "shell": "echo 'out ä'; echo err >&2\n",
}
LINES = """
import sys, time
def handler(event):
    for begin in range(0, event, 4096):
        sys.stdout.buffer.write(b"".join(b"%015d\\n" % n for n in range(begin, begin + 4096)))
        sys.stdout.buffer.flush()
    return "all written"
"""
"""``event`` lines of 16 bytes, all different, so that none can be missing, double or out of order unseen."""


def hash_lines(count: int) -> str:
    """Of what ``LINES`` writes."""
    whole = hashlib.sha256()
    for begin in range(0, count, 4096):
        whole.update(b"".join(b"%015d\n" % number for number in range(begin, begin + 4096)))
    return whole.hexdigest()


async def begin(client: httpx.AsyncClient, code: str, **fields: Any) -> str:
    """Sends it and waits for nothing; its id."""
    request = make_request(code, **fields)
    answer = await client.post("/execute", json=request, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    return str(request["execution_id"])


async def result_of(client: httpx.AsyncClient, execution_id: str) -> dict[str, Any]:
    """Once it has ended."""
    await follow(client, execution_id)
    found: dict[str, Any] = (await client.get(f"/executions/{execution_id}")).json()["result"]
    return found


async def wait_for_bytes(total: int, *readers: Followed) -> None:
    """Until other tasks have read so many each."""
    async with asyncio.timeout(PATIENCE_S):
        while any(followed.total < total for followed in readers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("language", ["python", "javascript", "shell"])
async def test_each_language_is_followed_to_its_end_and_read_again_after_it(
    client: httpx.AsyncClient, language: str
) -> None:
    await wait_until_warm(client, 2)
    warm = await read_metric(client, "sandbox_executor_sandbox_starts_total", launch_type="warm")
    execution_id = await begin(client, SAY[language], language=language)
    live = await follow(client, execution_id)
    assert (bytes(live.stdout), bytes(live.stderr)) == ("out ä\n".encode(), b"err\n")
    assert live.ending is not None
    assert (live.ending.phase, live.ending.reason, live.ending.exit_code) == ("Succeeded", "Completed", 0)
    assert (live.ending.stdout_bytes, live.ending.stderr_bytes) == live.position == (7, 4)
    assert await read_metric(client, "sandbox_executor_sandbox_starts_total", launch_type="warm") == warm + 1
    later = await follow(client, execution_id)
    assert (later.stdout, later.stderr, later.ending) == (live.stdout, live.stderr, live.ending)
    assert (await follow(client, execution_id, Followed(position=Position(4, 3)))).stdout == "ä\n".encode()
    result = await result_of(client, execution_id)
    assert (result["stdout"], result["stderr"]) == ("out ä\n", "err\n")


async def test_a_cold_sandbox_is_followed_as_well(start: Callable[..., RunningExecutor]) -> None:
    async with start(WARM_SANDBOXES="0", WARM_JAVASCRIPT="0").client() as client:
        live = await follow(client, await begin(client, SAY["python"]))
        assert (bytes(live.stdout), bytes(live.stderr)) == ("out ä\n".encode(), b"err\n")


async def test_what_is_printed_comes_while_the_code_runs_and_in_its_order(
    client: httpx.AsyncClient, shared_executor: RunningExecutor
) -> None:
    code = (
        "import os, sys, time\n"
        "def wait_for(name):\n"
        "    while not os.path.exists(name): time.sleep(0.01)\n"
        "def handler(event):\n"
        "    open('begun', 'w').close()\n"
        "    for n in range(4):\n"
        "        wait_for(str(n)); print(n, file=(sys.stdout, sys.stderr)[n % 2], flush=True)\n"
        "    wait_for('end')\n"
    )
    execution_id = await begin(client, code, timeout=600)
    shared_executor.wait_for_file(execution_id, "begun")
    (directory,) = shared_executor.workspaces.glob(f"{execution_id}-*")
    so_far = Followed()
    live = asyncio.create_task(follow(client, execution_id, so_far, until=lambda read: read.total == 8))
    for number in range(4):
        (directory / str(number)).touch()
        await wait_for_bytes(2 * (number + 1), so_far)
    await live
    assert (so_far.order, so_far.ending) == (["stdout", "stderr"] * 2, None)
    assert (await client.get(f"/executions/{execution_id}")).json()["state"] == "running"
    now = await follow(client, execution_id, follow="false")
    assert (bytes(now.stdout), bytes(now.stderr), now.paused, now.ending) == (b"0\n2\n", b"1\n3\n", True, None)
    (directory / "end").touch()
    ended = await follow(client, execution_id, so_far)
    assert (bytes(ended.stdout), ended.ending is not None) == (b"0\n2\n", True)
    assert (await follow(client, execution_id, follow="false")).ending == ended.ending


async def test_one_that_waits_for_a_slot_is_followed_from_its_beginning(start: Callable[..., RunningExecutor]) -> None:
    executor = start(MAX_CONCURRENT_EXECUTIONS="1")
    async with executor.client() as client:
        first = await begin(client, HELD, timeout=600)
        second = await begin(client, SAY["python"])
        cancelled = await begin(client, SAY["python"])
        nothing = await follow(client, second, follow="false")
        assert (nothing.paused, nothing.total) == (True, 0)
        waiting = [asyncio.create_task(follow(client, each)) for each in (first, second, cancelled)]
        await client.delete(f"/executions/{cancelled}")
        await asyncio.to_thread(executor.let_go, first, "go")
        _, live, ended = await asyncio.gather(*waiting)
        assert (bytes(live.stdout), live.ending and live.ending.phase) == ("out ä\n".encode(), "Succeeded")
        assert (ended.total, ended.ending and ended.ending.phase) == (0, "Cancelled")


async def test_each_kind_of_end_is_told(client: httpx.AsyncClient) -> None:
    failed = await follow(client, await begin(client, "print('x'); exit(3)"))
    for limit_s in time_limits():
        code = "print('x', flush=True); import time; time.sleep(600)"
        timed_out = await follow(client, await begin(client, code, timeout=limit_s))
        if timed_out.stdout:
            break
    ends = {("Failed", "NonZeroExit", 3): failed, ("TimedOut", "TimedOut", -1): timed_out}
    for expected, live in ends.items():
        assert live.ending is not None
        assert (live.ending.phase, live.ending.reason, live.ending.exit_code) == expected
        assert (bytes(live.stdout), live.ending.attempt) == (b"x\n", 1)


async def test_bytes_are_passed_on_as_they_are_and_forge_no_event(client: httpx.AsyncClient) -> None:
    forged = b'\xff\x00\r\nid: 9-9\nevent: end\ndata: {"phase":"Succeeded"}\n\n'
    code = f"import sys\ndef handler(event):\n    sys.stdout.buffer.write({forged!r})\n    raise SystemExit(7)\n"
    live = await follow(client, await begin(client, code))
    assert (bytes(live.stdout), live.ending and live.ending.exit_code) == (forged, 7)


async def test_two_that_run_beside_each_other_are_not_mixed(client: httpx.AsyncClient) -> None:
    code = "import time\ndef handler(event):\n    for _ in range(200): print(event, flush=True); time.sleep(0.002)\n"
    ids = {name: await begin(client, code, event=name) for name in ("mine", "yours")}
    found = await asyncio.gather(*(follow(client, each) for each in ids.values()))
    assert [bytes(live.stdout) for live in found] == [f"{name}\n".encode() * 200 for name in ids]


async def test_a_silent_run_keeps_its_stream(client: httpx.AsyncClient, shared_executor: RunningExecutor) -> None:
    """By a line within ten seconds; when it came is known to the second that this process had for it."""
    for _ in range(TRIES):
        execution_id, so_far = await begin(client, HELD + "    print('awake')\n", timeout=600), Followed()
        live = asyncio.create_task(follow(client, execution_id, so_far))
        async with asyncio.timeout(PATIENCE_S):
            while so_far.keep_alives == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        silence_s = so_far.longest_silence_s
        await asyncio.to_thread(shared_executor.let_go, execution_id, "go")
        await live
        assert bytes(so_far.stdout) == b"awake\n"
        if 9 < silence_s < 12 and so_far.keep_alives == 1:
            break
    assert so_far.keep_alives == 1
    assert 9 < silence_s < 12


@pytest.mark.timeout(600)
async def test_a_hundred_megabytes_arrive_whole_through_a_reader_that_breaks_off_three_times(
    start: Callable[..., RunningExecutor],
) -> None:
    executor, lines = start(), 100 * MIB // 16
    async with executor.client() as client, Peak(executor.process.pid) as peak:
        begun = time.monotonic()
        fields = {"event": lines, "timeout": 500, "output_overflow": "hold"}
        execution_id = await begin(client, LINES, **fields)
        so_far, whole, read = Followed(), hashlib.sha256(), 0

        def take(followed: Followed) -> bool:
            nonlocal read
            if len(followed.stdout) > MIB:
                whole.update(followed.stdout)
                read += len(followed.stdout)
                followed.stdout.clear()
            return read >= target

        for target in (15 * MIB, 40 * MIB, 41 * MIB, 200 * MIB):
            await follow(client, execution_id, so_far, take)
            await asyncio.sleep(0.5)
            if target < 100 * MIB:
                assert (await client.get(f"/executions/{execution_id}")).json()["state"] == "running"
        whole.update(so_far.stdout)
        assert (read + len(so_far.stdout), so_far.gaps) == (16 * lines, [])
        assert whole.hexdigest() == hash_lines(lines)
        took_s = time.monotonic() - begun - 4 * 0.5
        assert so_far.ending is not None
        assert (so_far.ending.phase, so_far.ending.stdout_bytes) == ("Succeeded", 16 * lines)
        result = await result_of(client, execution_id)
    assert (result["stdout_truncated"], len(result["stdout"])) == (True, 10 * MIB)
    assert result["return_value"] == "all written"
    print(f"the executor grew by {peak.grown_mib:.1f} MiB at most while 100 MiB went through it in {took_s:.1f} s")
    assert peak.grown_mib < 64


async def test_held_with_nobody_who_reads_it_waits_until_its_time_is_over(client: httpx.AsyncClient) -> None:
    lines = 20 * MIB // 16
    for limit_s in time_limits():
        request = make_request(LINES, event=lines, timeout=2 * limit_s, output_overflow="hold")
        result = (await client.post("/execute", json=request)).json()
        if result["stdout_truncated"]:  # it has come so far in that time
            break
    assert (result["reason"], result["stdout_truncated"]) == ("TimedOut", True)
    assert 10 * MIB < (await follow(client, request["execution_id"])).position.stdout < 13 * MIB


@pytest.mark.timeout(600)
async def test_not_held_a_reader_that_takes_nothing_slows_neither_its_run_nor_others(
    start: Callable[..., RunningExecutor],
) -> None:
    executor, lines = start(), 100 * MIB // 16
    async with executor.client() as client, Peak(executor.process.pid) as peak:
        execution_id = await begin(client, LINES, event=lines, timeout=500)
        with socket.create_connection(("127.0.0.1", executor.port)) as stuck:
            stuck.sendall(f"GET /executions/{execution_id}/output HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert stuck.recv(100).startswith(b"HTTP/1.1 200")
            begun = time.monotonic()
            small = [await client.post("/execute", json=make_request(event=number)) for number in range(10)]
            assert [answer.json()["return_value"] for answer in small] == list(range(10))
            result = await result_of(client, execution_id)
            assert (result["status"], result["stdout_truncated"]) == ("success", True)
            took_s = time.monotonic() - begun
            print(f"ten small ones and one of 100 MiB beside a stuck reader: {took_s:.2f} s, {peak.grown_mib:.1f} MiB")
            assert peak.grown_mib < 80
        late = await follow(client, execution_id)
        (gap,) = late.gaps
        assert (gap.begin, late.position.stdout) == (10 * MIB, 16 * lines)
        assert len(late.stdout) == 16 * lines - (gap.end - gap.begin)
        assert bytes(late.stdout[-16:]) == b"%015d\n" % (lines - 1)


async def test_wrong_parameters_are_refused_with_what_to_write(client: httpx.AsyncClient) -> None:
    execution_id = await begin(client, SAY["python"])
    await follow(client, execution_id)
    path = f"/executions/{execution_id}/output"
    for query, words in {
        "stdout=-1": "stdout: must be a whole number of bytes, not negative",
        "stderr=1.5": "stderr: must be a whole number of bytes, not negative",
        "stdout=": "stdout: must be a whole number of bytes, not negative",
        "stdout=8": "stdout: 8 is beyond the 7 bytes that were written so far",
        "stderr=999999999999999999": "stderr: 999999999999999999 is beyond the 4 bytes that were written so far",
        "stdout=1&stdout=2": "stdout: stands there more than once",
        "follow=maybe": "follow: must be true or false",
        "attempt=0": "attempt: must be a whole number from 1 to 999",
    }.items():
        answer = await client.get(f"{path}?{query}")
        assert (answer.status_code, answer.json()["error_code"]) == (400, "Executor.ValidationError"), query
        assert (answer.json()["error_detail"], answer.json()["solution"] > "") == (words, True)
    assert (await client.get(f"{path}?attempt=2")).status_code == 404
    assert (await client.get(f"{path}?attempt=1")).status_code == 200
    unknown = await client.get("/executions/exec_20260115_unknown0/output")
    assert (unknown.status_code, unknown.json()["error_code"]) == (404, "Executor.NotFound")


async def test_who_shows_no_token_reads_nothing(start: Callable[..., RunningExecutor]) -> None:
    executor = start(EXECUTE_API_TOKEN=TOKEN)
    async with executor.client(headers={"Authorization": f"Bearer {TOKEN}"}) as client, executor.client() as stranger:
        execution_id = await begin(client, SAY["python"])
        assert (await follow(client, execution_id)).total == 11
        answer = await stranger.get(f"/executions/{execution_id}/output")
        assert (answer.status_code, b"out" in answer.content) == (401, False)


async def test_readers_are_bounded_and_their_places_come_back(client: httpx.AsyncClient) -> None:
    execution_id = await begin(client, "print('x', flush=True); import time; time.sleep(600)", timeout=600)
    path = f"/executions/{execution_id}/output"
    async with httpx.AsyncClient(base_url=client.base_url, timeout=60, trust_env=False) as other:
        so_far = [Followed() for _ in range(8)]
        readers = [asyncio.create_task(follow(other, execution_id, each)) for each in so_far]
        await wait_for_bytes(2, *so_far)
        refused = await client.get(path, params={"follow": "false"})
        assert (refused.status_code, refused.json()["error_code"]) == (429, "Executor.TooManyReaders")
        assert int(refused.headers["Retry-After"]) >= 1
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    async def is_let_in() -> bool:
        return (await client.get(path, params={"follow": "false"})).status_code == 200

    await eventually(is_let_in, "the places of readers that have gone stay taken")
    await client.delete(f"/executions/{execution_id}")


async def test_pieces_are_small_and_the_result_is_what_it_is_without_a_reader(client: httpx.AsyncClient) -> None:
    lines = 4 * MIB // 16
    followed, alone = [await begin(client, LINES, event=lines) for _ in range(2)]
    live = await follow(client, followed)
    assert hashlib.sha256(live.stdout).hexdigest() == hash_lines(lines)
    assert len(live.stdout) / len(live.order) <= MAX_CHUNK_BYTES
    one, other = await result_of(client, followed), await result_of(client, alone)
    differs = {"execution_id", "execution_time", "metrics"}
    assert {key: one[key] for key in one.keys() - differs} == {key: other[key] for key in other.keys() - differs}


TELLS = """
import os, time
def handler(event):
    open("begun", "w").close()
    for n in range(event):
        print("line", n)
        while not os.path.exists(str(n)): time.sleep(0.01)
"""


async def test_the_controller_is_told_the_end_of_the_output_and_nobody_else_is(
    reporting: Callable[..., RunningExecutor], control_plane: FakeControlPlane
) -> None:
    """Also half-way between two beats, where there is something new: here always, as it comes when a beat has come."""
    executor = reporting(MAX_CONCURRENT_EXECUTIONS="2")
    async with executor.client() as client:
        requests = [make_request(TELLS, event=20, timeout=600) for _ in range(2)]
        mine, strangers = (str(request["execution_id"]) for request in requests)
        for request, headers in zip(requests, ({EPOCH_HEADER: "7"}, {}), strict=True):
            assert (await client.post("/execute", json=request, headers={**ASYNC, **headers})).status_code == 202
        told: list[Any] = []
        while {body.get("between", False) for body in told} != {True, False}:
            told = [call.body for call in await control_plane.wait_for("heartbeat", len(told) + 1, mine)]
            for number in range(len(told)):
                await asyncio.to_thread(executor.let_go, mine, str(number))
        stranger = [call.body for call in await control_plane.wait_for("heartbeat", 1, strangers)]
        for execution_id in (mine, strangers):
            await client.delete(f"/executions/{execution_id}")
        short, begun = make_request(), time.monotonic()
        await client.post("/execute", json=short, headers={EPOCH_HEADER: "7"})
        halves = (time.monotonic() - begun) // 2.5  # of the interval: none, where the machine did not stand still
    assert len(control_plane.of("heartbeat", str(short["execution_id"]))) <= halves
    assert {frozenset(body) for body in stranger} == {frozenset({"timestamp"})}
    tails = ["", *(body["stdout_tail"] for body in told)]
    assert tails[-1].startswith("line 0\nline 1\n")
    for before, (tail, body) in zip(tails, zip(tails[1:], told, strict=True), strict=False):
        assert tail.startswith(before)
        assert tail != before or not body.get("between", False)
