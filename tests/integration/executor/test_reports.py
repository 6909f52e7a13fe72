"""Results, heartbeats and lifecycle events at a Control Plane (the seed's US2, US4, US5)."""

import asyncio
import contextlib
import json
import shutil
import signal
import stat
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tests.fakes.control_plane import HANG, FakeControlPlane
from tests.integration.executor.conftest import TOKEN, make_request
from tests.integration.executor.running import RunningExecutor
from tests.patience import PATIENCE_S, TRIES, wait_until

pytestmark = pytest.mark.sandbox

ASYNC = {"Prefer": "respond-async"}
SLEEP = """
import time

def handler(event):
    print('begun', flush=True)
    open('x', 'w').close()
    time.sleep(event)
"""
Start = Callable[..., RunningExecutor]

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def run(executor: RunningExecutor, request: dict[str, object]) -> httpx.Response:
    async with executor.client() as client:
        return await client.post("/execute", json=request)


def until_gone(path: Path) -> None:
    wait_until(lambda: not path.exists(), f"{path} stays")


async def test_ready_is_told_within_two_seconds_of_the_start(reporting: Start, control_plane: FakeControlPlane) -> None:
    for number in range(1, TRIES + 1):
        executor = reporting()
        call = (await control_plane.wait_for("ready", number))[-1]
        # 2 s is the figure (T067); the rest is for a slow machine, and what neighbours took does not count.
        if (took_s := call.at - executor.started_at - executor.in_line_s()) < 4.0:
            break
        executor.close()
    assert took_s < 4.0
    assert call.path == "/some/prefix/internal/containers/ready"
    assert call.body["container_id"] == "executor-under-test"
    assert call.body["pod_name"] == "pod-under-test"
    assert call.body["executor_port"] == executor.port
    assert call.token == TOKEN


async def test_a_result_arrives_in_time_with_its_key_and_leaves_no_file(
    reporting: Start, control_plane: FakeControlPlane
) -> None:
    executor = reporting()
    headers = {"X-Request-ID": "trace-7", "traceparent": TRACEPARENT}
    async with executor.client() as client:
        for _ in range(TRIES):
            request = make_request(event=5)
            result = (await client.post("/execute", json=request, headers=headers)).json()
            answered_at = time.monotonic()
            (call,) = await control_plane.wait_for("result", 1, str(request["execution_id"]))
            if (took_s := call.at - answered_at) < 1.0:
                break
    assert took_s < 1.0
    assert call.execution_id == request["execution_id"]
    assert {**result, "return_value_truncated": False} == call.body
    assert str(request["execution_id"]) in call.headers["Idempotency-Key"]
    assert call.headers["X-Request-ID"] == "trace-7"
    assert call.headers["traceparent"] == TRACEPARENT
    await asyncio.to_thread(until_gone, executor.results / f"{request['execution_id']}.json")


async def test_the_requests_own_token_is_used_and_never_logged(
    reporting: Start, control_plane: FakeControlPlane
) -> None:
    executor = reporting(LOG_LEVEL="DEBUG", DEBUG="on")
    own = "report-token-of-one-execution"
    control_plane.tokens = {TOKEN, own}
    code = "import os\ndef handler(event):\n    return dict(os.environ)\n"
    result = (await run(executor, make_request(code, report_token=own))).json()
    (call,) = await control_plane.wait_for("result")
    assert call.token == own
    assert own not in json.dumps(result)
    assert TOKEN not in json.dumps(result)
    executor.terminate()
    log = "".join(executor.raw_log)
    assert own not in log
    assert TOKEN not in log


async def test_a_rotated_token_is_read_again_on_401(
    start: Start, directory: Path, control_plane: FakeControlPlane
) -> None:
    """A second after the refusal, where the machine had the time for it, and not before there is another one."""
    file = directory / "token"
    place_token(file, "token-0")
    control_plane.tokens = {"token-0"}
    executor = start(CONTROL_PLANE_URL=control_plane.url, INTERNAL_API_TOKEN_FILE=str(file))
    await control_plane.wait_for("ready")
    for number in range(TRIES):
        old, new = f"token-{number}", f"token-{number + 1}"
        control_plane.tokens = {new}
        request = make_request()
        await run(executor, request)
        await control_plane.wait_for("result", 1, str(request["execution_id"]))
        place_token(file, new)
        calls = await control_plane.wait_for("result", 2, str(request["execution_id"]))
        while calls[-1].answered != 201:
            calls = await control_plane.wait_for("result", len(calls) + 1, str(request["execution_id"]))
        assert {(call.token, call.answered) for call in calls} == {(old, 401), (new, 201)}
        assert len({call.headers["Idempotency-Key"] for call in calls}) == 1
        pause_s = calls[1].at - calls[0].at
        if len(calls) == 2 and abs(pause_s - 1.0) <= 0.5:
            break
    assert len(calls) == 2
    assert pause_s == pytest.approx(1.0, abs=0.5)


def place_token(file: Path, token: str) -> None:
    """As a kubelet does: at once, and whole."""
    replacement = file.with_suffix(".new")
    replacement.write_text(f"{token}\n")
    replacement.chmod(0o644)
    replacement.rename(file)


BURN = """
import json, os, time

def handler(event):
    for _ in range(32):
        if os.fork() == 0:
            while True:
                pass
    time.sleep(6)
    with open('.progress.json', 'w') as file:
        json.dump({'percent': 60}, file)
    time.sleep(5)
"""


async def test_heartbeats_keep_their_beat_whatever_the_load_and_none_follow_the_result(
    reporting: Start, control_plane: FakeControlPlane
) -> None:
    """The one test of the default interval: two beats, the first of them never answered (T058, T059, T060), from
    an executor that has each CPU to share with 32 busy processes of its own sandbox (T064: and the second says how
    far they are). The times are the executor's own, and those of the try in which neighbours left it its processors."""
    executor = reporting()
    executor.wait_for_log("executor_started")
    for _ in range(TRIES):
        control_plane.program("heartbeat", HANG)
        request = make_request(BURN, timeout=100)
        execution_id = str(request["execution_id"])
        answer = await run(executor, request)
        assert answer.json()["artifacts"] == []
        (result,) = await control_plane.wait_for("result", 1, execution_id)
        beats = control_plane.of("heartbeat", execution_id)
        assert all(beat.at < result.at for beat in beats)
        begun = logged_at(executor, "execution_started", execution_id)
        sent = [datetime.fromisoformat(beat.body["timestamp"]).timestamp() - begun for beat in beats]
        told = [set(beat.body) - {"timestamp"} for beat in beats]
        if sent == [pytest.approx(5, abs=1), pytest.approx(10, abs=1)] and told == [set(), {"progress"}]:
            break
    assert sent == [pytest.approx(5, abs=1), pytest.approx(10, abs=1)]
    assert told == [set(), {"progress"}]
    assert beats[1].body["progress"] == {"percent": 60}
    unanswered = [record for record in executor.log if record["event_type"] == "heartbeat_unanswered"]
    assert execution_id in {record["execution_id"] for record in unanswered}


def logged_at(executor: RunningExecutor, event_type: str, execution_id: str) -> float:
    """When the executor wrote it into its log (Unix seconds)."""

    def found() -> list[str]:
        mine = (record for record in executor.log if record.get("execution_id") == execution_id)
        return [record["timestamp"] for record in mine if record["event_type"] == event_type]

    wait_until(found, f"no {event_type} of {execution_id}")
    return datetime.fromisoformat(found()[0]).timestamp()


@pytest.mark.parametrize("hangs", [False, True], ids=["answering", "hanging"])
async def test_sigterm_reports_running_and_waiting_ones_within_two_seconds(
    reporting: Start, control_plane: FakeControlPlane, hangs: bool
) -> None:
    """On a machine that has the time for it."""
    for _ in range(TRIES):
        seconds, told = await terminate_with_three(reporting, control_plane, hangs)
        if seconds < 2.0 and told:
            break
    assert seconds < 2.0
    assert told, "not each of the three was told"


async def terminate_with_three(reporting: Start, control_plane: FakeControlPlane, hangs: bool) -> tuple[float, bool]:
    """The seconds that an executor with one that runs and two that wait took to end, and whether all were told."""
    for kind in ("result", "exited"):
        control_plane.always(kind, None)
    control_plane.calls.clear()
    executor = reporting(MAX_CONCURRENT_EXECUTIONS="1")
    await control_plane.wait_for("ready")
    running = make_request(SLEEP, event=600, timeout=600)
    waiting, sync = make_request(), make_request(SLEEP, event=601, timeout=600)
    async with executor.client() as client:
        for request in (running, waiting):
            await client.post("/execute", json=request, headers=ASYNC)
        blocked = asyncio.create_task(client.post("/execute", json=sync))
        await asyncio.to_thread(executor.wait_for_file, running["execution_id"], "x")
        async with asyncio.timeout(PATIENCE_S):
            while len((await client.get("/executions")).json()["executions"]) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        sandboxed = live_descendants(executor.process.pid)
        assert len(sandboxed) >= 2  # bwrap, and what runs in it
        if hangs:
            control_plane.always("result", HANG)
            control_plane.always("exited", HANG)
        code, seconds = await asyncio.to_thread(executor.terminate)
        (answer,) = await asyncio.gather(blocked, return_exceptions=True)
    assert (code, executor.stderr()) == (143, "")
    await asyncio.to_thread(until_dead, sandboxed)
    spooled = {path.stem for path in executor.results.iterdir()} if executor.results.exists() else set()
    shutil.rmtree(executor.results, ignore_errors=True)  # another try has a directory without them
    ids = {str(request["execution_id"]) for request in (running, waiting, sync)}
    calls = {call.execution_id: call for call in control_plane.of("result")}
    if (
        isinstance(answer, BaseException)
        or set(calls) != ids
        or not control_plane.of("exited")
        or spooled != (ids if hangs else set())
    ):
        return seconds, False
    assert (answer.status_code, answer.json()["error_detail"]) == (500, "PodTerminated")
    assert {(call.body["status"], call.body["reason"]) for call in calls.values()} == {("crashed", "PodTerminated")}
    assert calls[str(running["execution_id"])].body["stdout"] == "begun\n"
    assert "nothing of it ran" in calls[str(waiting["execution_id"])].body["message"]
    (exited,) = control_plane.of("exited")
    assert (exited.body["exit_code"], exited.body["exit_reason"]) == (143, "sigterm")
    assert all(call.at <= exited.at for call in calls.values())
    return seconds, True


def live_descendants(pid: int) -> set[int]:
    """Of this process, at this moment; the sandboxes' processes are among them."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            task = Path(f"/proc/{(parent := waiting.pop())}/task/{parent}/children")
            children = {int(child) for child in task.read_text().split()}
            found |= children
            waiting += children
    return found


def until_dead(pids: set[int]) -> None:
    """They were killed with their parent; the kernel and init take a moment."""
    wait_until(lambda: not any(map(is_alive, pids)), f"one of {pids} lives on")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_new_work_is_refused_while_it_terminates(reporting: Start, control_plane: FakeControlPlane) -> None:
    """It has two seconds to live then; asked later, on a machine that had no time for this process, it is gone."""
    control_plane.always("exited", HANG)
    for number in range(1, TRIES + 1):
        executor = reporting()
        await control_plane.wait_for("ready", number)
        async with executor.client() as client:
            await client.get("/health")
            executor.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(executor.wait_for_log, "executor_terminating")
            try:
                health = await client.get("/health")
                refused = await client.post("/execute", json=make_request())
                break
            except httpx.TransportError:
                if number == TRIES:
                    raise
    assert (health.status_code, health.json()) == (503, {"status": "unhealthy", "reason": "terminating"})
    assert (refused.status_code, refused.json()["error_code"]) == (503, "Executor.Terminating")
    assert executor.process.wait(PATIENCE_S) == 143


async def test_interrupted_by_a_person_it_ends_as_quickly(reporting: Start, control_plane: FakeControlPlane) -> None:
    for number in range(1, TRIES + 1):
        executor = reporting()
        await control_plane.wait_for("ready", number)
        code, seconds = await asyncio.to_thread(executor.terminate, signal.SIGINT)
        assert (code, executor.stderr()) == (130, "")
        if seconds < 2.0:
            break
    assert seconds < 2.0
    assert control_plane.of("exited")[0].body["exit_code"] == 130


async def test_what_could_not_be_reported_is_reported_after_a_restart(
    reporting: Start, control_plane: FakeControlPlane
) -> None:
    control_plane.always("result", 503)
    first = reporting()
    request = make_request(event="kept", report_token=TOKEN)
    async with first.client() as client:
        await client.post("/execute", json=request, headers={"traceparent": TRACEPARENT})
    refused, *_ = await control_plane.wait_for("result")
    first.process.kill()  # not even a SIGTERM: the file was there before the first attempt
    first.process.wait(PATIENCE_S)
    file = first.results / f"{request['execution_id']}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(first.results.stat().st_mode) == 0o700
    (first.results / "exec_20260115_corrupt0.json").write_bytes(b'{"half a fi')

    control_plane.always("result", None)
    before = len(control_plane.of("result"))
    second = reporting()
    accepted = (await control_plane.wait_for("result", before + 1))[-1]
    assert (accepted.answered, accepted.body["return_value"]) == (201, "kept")
    assert accepted.body == refused.body
    assert accepted.headers["traceparent"] == TRACEPARENT
    for header in ("Idempotency-Key", "X-Request-ID"):
        assert accepted.headers[header] == refused.headers[header]
    await asyncio.to_thread(until_gone, file)
    assert second.wait_for_log("spool_file_corrupt")["file"] == "exec_20260115_corrupt0.json"
    assert (await run(second, make_request(event=1))).json()["return_value"] == 1


async def test_without_a_control_plane_nothing_is_reported_and_nothing_is_wrong(
    start: Callable[..., RunningExecutor],
) -> None:
    executor = start()
    async with executor.client() as client:
        assert (await client.post("/execute", json=make_request())).json()["status"] == "success"
        await asyncio.to_thread(executor.wait_for_log, "execution_completed")
    assert not executor.results.exists()
    assert not [record for record in executor.log if record["level"] in ("warning", "error")]
