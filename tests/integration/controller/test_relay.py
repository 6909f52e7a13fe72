"""What the Control Plane hears from a real controller on a real API server: all of it once, whatever fails between."""

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.control_plane_api import CONTAINER_EXITED_PATH, CONTAINER_READY_PATH
from contracts.control_plane_api import ResultReport as Report
from controller import names
from tests.fakes.control_plane import HANG, Call, FakeControlPlane
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.apiserver import ApiError, ApiServer, free_port
from tests.integration.controller.cluster import TENANT, WAIT_S, Cluster, Controller, eventually, first_within
from tests.integration.controller.conftest import StartExecutor, make_controller
from tests.integration.controller.stopwatch import Stopwatch
from tests.integration.controller.test_end import run_one
from tests.integration.controller.test_way import find_condition

TOKEN = "the-control-planes-token"
OUTPUT = "0123456789" * 20_000


@pytest.fixture
async def control_plane() -> AsyncIterator[FakeControlPlane]:
    async with FakeControlPlane(tokens={TOKEN}, prefix="/api/v1") as started:
        yield started


@pytest.fixture(scope="module")
def no_shared_controller(controller: Controller) -> Iterator[None]:
    """The controller that other modules share pauses."""
    controller.stop_blocking()
    yield
    controller.start_blocking()


@pytest.fixture
async def own_controller(
    api_server: ApiServer, no_shared_controller: None, control_plane: FakeControlPlane, tmp_path: Path
) -> AsyncIterator[Controller]:
    """A controller that tells the recording Control Plane."""
    process = make_controller(api_server, tmp_path)
    token_file(process).write_text(TOKEN)
    try:
        await start(process, control_plane)
        yield process
    finally:
        if process.process is not None:
            await process.stop(kill=True)


def token_file(controller: Controller) -> Path:
    return controller.folder / "control-plane-token"


async def start(controller: Controller, control_plane: FakeControlPlane) -> None:
    path = str(token_file(controller))
    await controller.start(CONTROL_PLANE_URL=control_plane.url, CONTROL_PLANE_TOKEN_FILE=path)


async def wait_for_report(cluster: Cluster, name: str, *reasons: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
    """Waits until the condition Reported has one of the reasons; the Execution."""

    def look() -> Any:
        found = cluster.server.request("GET", names.execution_path(TENANT, name))
        return found if find_condition(found, "Reported").get("reason") in reasons else None

    found: dict[str, Any] = await eventually(look, what=f"{name} to be {reasons}", timeout_s=timeout_s)
    return found


def effects(control_plane: FakeControlPlane, execution_id: str) -> list[Call]:
    """The calls that have made a result known: one at most, whatever was sent again."""
    return [call for call in control_plane.of("result", execution_id) if call.answered == 201]


def assert_equal(item: dict[str, Any], call: Call) -> None:
    """What the Control Plane has is what the Execution says."""
    status, said = item["status"], Report.model_validate(call.body)
    phases = {"success": "Succeeded", "timeout": "TimedOut", "crashed": "Crashed"}
    assert phases.get(said.status, status["phase"]) == status["phase"]
    assert (said.execution_id, said.exit_code) == (status["executionId"], status["exitCode"])
    assert (said.stdout, said.stderr) == (status["stdout"], status["stderr"])
    assert (said.return_value, said.reason) == (status["returnValue"], find_condition(item, "Finished")["reason"])
    assert said.metrics.duration_ms == status["metrics"]["durationMs"]


async def test_a_result_is_told_once_and_that_is_written_once(
    cluster: Cluster, own_controller: Controller, control_plane: FakeControlPlane, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    await start_executor()
    await cluster.wait_for_slots()
    await cluster.create_execution("told")
    item = await wait_for_report(cluster, "told", "Accepted")
    assert find_condition(item, "Reported")["status"] == "True"
    [call] = control_plane.of("result")
    assert_equal(item, call)
    assert call.headers["Idempotency-Key"].startswith(item["status"]["executionId"])
    assert call.token == TOKEN
    await cluster.check_writes("told", "create", *["update status"] * 3)
    pending = 'sandbox_controller_relay_pending{kind="result"} 0.0'
    await eventually(lambda: pending in read_metrics(own_controller), what="nothing to be pending")
    metrics = await asyncio.to_thread(read_metrics, own_controller)
    assert 'sandbox_controller_relay_attempts_total{call="result",outcome="accepted"} 1.0' in metrics


def read_metrics(controller: Controller) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{controller.health_port}/metrics", timeout=60) as answer:
        text: str = answer.read().decode()
        return text


async def test_while_it_is_down_nothing_waits_and_after_a_restart_each_is_told_once(
    cluster: Cluster, own_controller: Controller, start_executor: StartExecutor
) -> None:
    nobody = FakeControlPlane(tokens={TOKEN}, port=free_port())
    await own_controller.stop()
    await start(own_controller, nobody)
    await cluster.create_pool("default")
    await start_executor(concurrency=8)
    for number in range(20):
        await cluster.create_execution(f"down-{number:02d}")
    for number in range(20):
        await cluster.wait_for_phase(f"down-{number:02d}", "Succeeded")
    assert find_condition(await cluster.read_execution("down-19"), "Reported")["status"] != "True"
    await own_controller.stop(kill=True)
    await start(own_controller, nobody)
    for number in range(20, 25):
        await cluster.create_execution(f"down-{number:02d}")
        await cluster.wait_for_phase(f"down-{number:02d}", "Succeeded")
    async with nobody:
        for number in range(25):
            item = await wait_for_report(cluster, f"down-{number:02d}", "Accepted")
            [call] = effects(nobody, item["status"]["executionId"])
            assert_equal(item, call)
        assert {call.answered for call in nobody.of("result")} == {201}


async def test_it_says_how_often_it_tried_and_what_came_of_it(
    cluster: Cluster, own_controller: Controller, control_plane: FakeControlPlane, start_executor: StartExecutor
) -> None:
    """After 1, 2, 4 and 8 s, and less than two more in one of three tries."""
    await cluster.create_pool("default")
    await start_executor()

    async def stay_unheard(number: int) -> float:
        name = f"unheard-{number}"
        control_plane.always("result", 503)
        watch = Stopwatch(own_controller.pids)
        await cluster.create_execution(name, ttlSecondsAfterFinished=1)
        item = await wait_for_report(cluster, name, "Unavailable", timeout_s=90)
        starved_s, execution_id = watch.starved_s(), item["status"]["executionId"]
        condition = find_condition(item, "Reported")
        assert condition["status"] == "False"
        assert condition["message"] == "5 attempts; the last one: HTTP 503"
        calls = control_plane.of("result", execution_id)
        pauses = [later.at - earlier.at for earlier, later in zip(calls, calls[1:], strict=False)]
        late = [pause - wanted for pause, wanted in zip(pauses, (1, 2, 4, 8), strict=False)]
        assert (len(late), min(late) >= 0) == (4, True), pauses
        assert len({call.headers["Idempotency-Key"] for call in calls}) == 1
        # Its time to live has long passed: it is there until it is told, and gone soon after.
        control_plane.always("result", None)
        await own_controller.stop(kill=True)
        await start(own_controller, control_plane)
        await eventually(lambda: is_gone(cluster, name), what="the removal")
        assert len(effects(control_plane, execution_id)) == 1
        return max(late) - starved_s

    await first_within(2, stay_unheard)


def is_gone(cluster: Cluster, name: str) -> bool:
    try:
        cluster.server.request("GET", names.execution_path(TENANT, name))
    except ApiError as error:
        return error.status == 404
    return False


async def test_a_token_that_was_rotated_is_read_again_and_none_is_logged(
    cluster: Cluster, own_controller: Controller, control_plane: FakeControlPlane, start_executor: StartExecutor
) -> None:
    control_plane.tokens = {"the-rotated-token"}
    await cluster.create_pool("default")
    await start_executor()
    await cluster.create_execution("rotated")
    await control_plane.wait_for("result", 2)
    new = own_controller.folder / "new"
    new.write_text("the-rotated-token")
    new.rename(token_file(own_controller))
    await wait_for_report(cluster, "rotated", "Accepted")
    assert [call.answered for call in control_plane.of("result")][:2] == [401, 401]
    assert control_plane.of("result")[-1].token == "the-rotated-token"
    assert TOKEN not in own_controller.log
    assert "the-rotated-token" not in own_controller.log


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [(404, "True", "NotKnown"), (409, "True", "Conflict"), (422, "False", "Refused"), (200, "True", "AlreadyKnown")],
)
async def test_a_final_answer_is_written_and_not_asked_for_again(
    cluster: Cluster,
    own_controller: Controller,
    control_plane: FakeControlPlane,
    start_executor: StartExecutor,
    answer: int,
    status: str,
    reason: str,
) -> None:
    control_plane.always("result", answer)
    await cluster.create_pool("default")
    await start_executor()
    await cluster.create_execution("final")
    item = await wait_for_report(cluster, "final", reason)
    assert find_condition(item, "Reported")["status"] == status
    await own_controller.stop(kill=True)
    await start(own_controller, control_plane)
    await eventually(lambda: "the relay goes on" in own_controller.log, what="the list at the start")
    await asyncio.sleep(1)
    assert len(control_plane.of("result")) == 1


async def test_a_control_plane_that_hangs_slows_nothing(
    cluster: Cluster, own_controller: Controller, control_plane: FakeControlPlane, start_executor: StartExecutor
) -> None:
    """Against what it takes without that; there are three tries, for one of the two may meet a busier machine."""
    await cluster.create_pool("default")
    executor = await start_executor(concurrency=4)
    answering = await run_burst(cluster, "fast")
    for kind in ("result", "heartbeat", "ready", "exited"):
        control_plane.always(kind, HANG)
    await first_within(2 * answering + 2, lambda number: run_burst(cluster, f"hung-{number}"))
    await eventually(lambda: len(executor.answers) == len(executor.received), what="the reports to be answered")
    assert set(executor.answers) == {201}


async def run_burst(cluster: Cluster, name: str) -> float:
    """Seconds from the first creation until thirty Executions have ended."""
    begun = time.monotonic()
    await asyncio.gather(*(cluster.create_execution(f"{name}-{number:02d}") for number in range(30)))
    for number in range(30):
        await cluster.wait_for_phase(f"{name}-{number:02d}", "Succeeded")
    return time.monotonic() - begun


async def send_heartbeat(controller: Controller, executor: FakeExecutor, execution_id: str) -> int:
    token = executor.runs[execution_id].request["report_token"]
    body = json.dumps({"timestamp": "2026-01-15T12:00:00Z", "progress": {"percent": 50}}).encode()
    return await post(controller, f"/internal/executions/{execution_id}/heartbeat", body, token)


async def post(controller: Controller, path: str, body: bytes, token: str) -> int:
    def send() -> int:
        request = urllib.request.Request(controller.url + path, body, method="POST")
        request.add_header("Authorization", f"Bearer {token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            status: int = answer.status
            return status

    return await asyncio.to_thread(send)


async def test_heartbeats_are_passed_on_before_the_result_and_never_after_it(
    cluster: Cluster, own_controller: Controller, control_plane: FakeControlPlane, start_executor: StartExecutor
) -> None:
    """And the end does not wait for one that hangs: it comes before that is given up, in one of three tries."""
    await cluster.create_pool("default", concurrency=1)
    executor = await start_executor(auto=False, concurrency=1)

    async def end_while_one_hangs(number: int) -> float:
        name = f"beating-{number}"
        control_plane.always("heartbeat", None)
        await cluster.create_execution(name)
        execution_id = str((await cluster.wait_for_phase(name, "Running"))["status"]["executionId"])
        await eventually(lambda: execution_id in executor.runs, what="the dispatch")
        assert await send_heartbeat(own_controller, executor, execution_id) == 204
        [beat] = await control_plane.wait_for("heartbeat", 1, execution_id)
        assert beat.body["progress"] == {"percent": 50}
        control_plane.always("heartbeat", HANG)
        await asyncio.sleep(3.1)
        assert await send_heartbeat(own_controller, executor, execution_id) == 204
        await control_plane.wait_for("heartbeat", 2, execution_id)
        watch = Stopwatch(own_controller.pids)
        assert await executor.end(execution_id) == 201
        await cluster.wait_for_phase(name, "Succeeded")
        took_s = watch.read()
        await wait_for_report(cluster, name, "Accepted")
        kinds = [call.kind for call in control_plane.calls if call.execution_id == execution_id]
        assert kinds == ["heartbeat", "heartbeat", "result"]
        return took_s

    await first_within(3, end_while_one_hangs)


async def test_a_large_result_is_held_by_its_executor_until_the_control_plane_has_it_whole(
    cluster: Cluster, own_controller: Controller, control_plane: FakeControlPlane, start_executor: StartExecutor
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "large")
    control_plane.program("result", 503)
    assert await executor.end(execution_id, stdout=OUTPUT) == 503
    item = await cluster.wait_for_phase("large", "Succeeded")
    assert find_condition(item, "Reported")["reason"] == "WholeResultPending"
    assert item["status"]["stdoutTruncated"]
    run = executor.runs[execution_id]
    assert run.result is not None
    await own_controller.stop(kill=True)
    await start(own_controller, control_plane)
    await eventually(lambda: "the relay goes on" in own_controller.log, what="the list at the start")
    assert await executor.report(execution_id, run.request["report_token"], run.result) == 200
    await wait_for_report(cluster, "large", "Accepted")
    [call] = effects(control_plane, execution_id)
    assert (call.body["stdout"], call.body["stdout_truncated"]) == (OUTPUT, False)
    assert await executor.report(execution_id, run.request["report_token"], run.result) == 200
    assert len(control_plane.of("result")) == 2


async def test_when_its_executor_is_lost_first_what_the_status_keeps_is_told(
    cluster: Cluster, own_controller: Controller, control_plane: FakeControlPlane, start_executor: StartExecutor
) -> None:
    executor, execution_id = await run_one(cluster, start_executor, "cut")
    control_plane.program("result", 500)
    assert await executor.end(execution_id, stdout=OUTPUT) == 503
    await cluster.delete(names.core_path("sandbox-system", "pods", "pod-1"))
    await wait_for_report(cluster, "cut", "ReportedTruncated")
    [call] = effects(control_plane, execution_id)
    assert (call.body["stdout"], call.body["stdout_truncated"]) == (OUTPUT[-65_536:], True)


async def test_an_execution_that_is_deleted_while_it_runs_is_told_as_cancelled(
    cluster: Cluster, own_controller: Controller, control_plane: FakeControlPlane, start_executor: StartExecutor
) -> None:
    _, execution_id = await run_one(cluster, start_executor, "deleted")
    await cluster.delete(names.execution_path(TENANT, "deleted"))
    [call] = await control_plane.wait_for("result", 1, execution_id)
    assert (call.body["status"], call.body["reason"]) == ("failed", "Cancelled")


async def test_each_container_run_is_told_ready_and_exited_once_and_the_pool_says_so(
    cluster: Cluster, own_controller: Controller, control_plane: FakeControlPlane, start_executor: StartExecutor
) -> None:
    await cluster.create_pool("default")
    await start_executor()
    await cluster.set_pod_status("pod-1", containerID="containerd://first")
    said = {"container_id": "uid", "pod_name": "pod-1"}
    ready = json.dumps({**said, "executor_port": 8080, "ready_at": "2026-01-15T12:00:00Z"}).encode()
    assert await post(own_controller, CONTAINER_READY_PATH, ready, own_controller.internal_token) == 204
    [told] = await control_plane.wait_for("ready", 1)
    assert (told.body["container_id"], told.body["pod_name"]) == ("first", "pod-1")

    exited = {**said, "exit_code": 143, "exit_reason": "sigterm", "exited_at": "2026-01-15T12:00:01Z"}
    control_plane.always("exited", 503)
    body = json.dumps(exited).encode()
    assert await post(own_controller, CONTAINER_EXITED_PATH, body, own_controller.internal_token) == 204
    await control_plane.wait_for("exited", 1)
    last = {"terminated": {"exitCode": 143, "containerID": "containerd://first", "reason": "Error"}}
    await cluster.set_pod_status("pod-1", containerID="containerd://second", restartCount=1, lastState=last)

    def rows() -> Any:
        status = cluster.server.request("GET", names.pool_path("default")).get("status", {})
        found = {row["containerId"]: row for row in status.get("containers", [])}
        return found if "reported" in found.get("second", {}) else None

    found = await eventually(rows, what="both runs in the pool's status")
    assert (found["first"]["exitReason"], found["first"]["reported"]) == ("sigterm", "Ready")
    await own_controller.stop(kill=True)
    control_plane.always("exited", None)
    await start(own_controller, control_plane)
    await cluster.delete(names.core_path("sandbox-system", "pods", "pod-1"))

    def all_exited() -> bool:
        return {call.body["container_id"] for call in control_plane.of("exited") if call.answered == 200} == {
            "first",
            "second",
        }

    await eventually(all_exited, what="both ends")
    by_run = {call.body["container_id"]: call.body for call in control_plane.of("exited")}
    assert (by_run["first"]["exit_reason"], by_run["first"]["exit_code"]) == ("sigterm", 143)
    assert (by_run["second"]["exit_reason"], by_run["second"]["exit_code"]) == ("error", -1)
    keys = [call.headers["Idempotency-Key"] for call in control_plane.of("ready") + control_plane.of("exited")]
    assert len(set(keys)) == 4
    await cluster.wait_for_events("default", "ContainerReady", "ContainerExited")
