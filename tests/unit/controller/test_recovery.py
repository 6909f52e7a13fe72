"""What the comparison with a list repairs, and what it finds out about the watch."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.executor_api import ExecutionState
from controller import names
from controller.pipeline import CLAIMS_AT_A_TIME
from controller.placement import Placed
from controller.recovery import RESYNC_AFTER_A_MISS_S, RESYNC_S, SEEN_AT_A_TIME
from controller.resources import parse_execution
from tests.unit.controller.builders import NOW, make_execution, make_pod, make_pool
from tests.unit.controller.virtual_time import run_virtually
from tests.unit.controller.world import World


def body_of(name: str, version: str = "7") -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "tenant",
            "uid": f"uid-{name}",
            "resourceVersion": version,
            "creationTimestamp": "2026-01-15T12:00:00Z",
        },
        "spec": {"code": "x", "language": "python"},
    }


def test_executions_that_the_watch_does_not_deliver_are_counted_at_the_next_list() -> None:
    async def scene() -> None:
        world, told = World(), list[int]()
        world.recovery.resynced = [told.append]
        resyncing = asyncio.ensure_future(world.recovery.resync())
        await asyncio.sleep(RESYNC_S / 2)
        for name in ("told", "untold"):
            world.kube.lists["executions"] = [*world.kube.lists.get("executions", []), body_of(name)]
        await asyncio.sleep(RESYNC_S / 2 + 1)
        assert {tracked.uid for tracked in world.pipeline.registry} == {"uid-told", "uid-untold"}
        assert told == [0]
        world.recovery.deliver("uid-told")
        await asyncio.sleep(RESYNC_AFTER_A_MISS_S)
        assert told == [0, 1]
        await asyncio.sleep(RESYNC_S)
        assert told == [0, 1, 0]
        resyncing.cancel()
        await world.pipeline.close(0)

    run_virtually(scene())


def test_what_is_there_at_the_start_is_no_miss() -> None:
    async def scene() -> None:
        world, told = World(), list[int]()
        world.recovery.resynced = [told.append]
        world.kube.lists["executions"] = [body_of("early")]
        await world.recovery.load()
        resyncing = asyncio.ensure_future(world.recovery.resync())
        await asyncio.sleep(RESYNC_S + 1)
        assert told == [0]
        resyncing.cancel()
        await world.pipeline.close(0)

    run_virtually(scene())


async def test_a_deletion_that_was_not_told_is_found_by_a_live_read() -> None:
    world = World()
    for name in ("gone", "ended", "there"):
        world.pipeline.see(parse_execution(body_of(name)))
    ended = {**body_of("ended", "9"), "status": {"phase": "Succeeded"}}
    world.kube.objects[names.execution_path("tenant", "ended")] = ended
    world.kube.objects[names.execution_path("tenant", "there")] = body_of("there")
    await world.recovery.load()
    await world.settle()
    assert {tracked.uid for tracked in world.pipeline.registry} == {"uid-there"}
    await world.pipeline.close(0)


async def test_a_pool_and_a_pod_that_went_untold_take_no_more_work() -> None:
    world = World()
    world.add_pod()
    await world.recovery.load()
    assert world.pipeline.pools == {}
    assert list(world.pipeline.pods) == []
    await world.pipeline.close(0)


async def test_a_list_that_is_behind_the_watch_does_not_end_a_container_again() -> None:
    world = World()
    await world.start_one()
    ended = {"name": "executor", "state": {"terminated": {"exitCode": 1}}, "restartCount": 0}
    fresh, stale = make_pod(), make_pod(containerStatuses=[ended])
    world.recovery.see_pod(replace(fresh, resource_version="20"))
    world.recovery.see_pod(replace(stale, resource_version="19"))
    await world.settle()
    assert world.kube.phases["one"] == ["Running"]
    world.recovery.see_pod(replace(stale, resource_version="21"))
    await world.settle()
    assert world.kube.phases["one"] == ["Running", "Crashed"]
    await world.pipeline.close(0)


def seconds_ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


def backing_off(finished: str) -> dict[str, Any]:
    """What a pod's status says while its container waits to be started again, and for a second or two after."""
    ended = {"terminated": {"exitCode": 143, "containerID": "containerd://before", "finishedAt": finished}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    container = {"name": "executor", "state": waiting, "lastState": ended, "restartCount": 1}
    return {"containerStatuses": [container], "conditions": []}


async def test_how_the_run_before_ended_is_not_told_of_a_run_that_the_kubelet_has_not_shown_yet() -> None:
    world = World()
    world.pipeline.see_pool(make_pool(concurrency=1))
    world.recovery.see_pod(make_pod(**backing_off(seconds_ago(10))))
    assert world.pipeline.pods.say_ready("pod-1", NOW, "10.0.0.1") is not None
    world.pipeline.see(make_execution())
    await world.settle()
    assert world.kube.phases["one"] == ["Running"]
    world.recovery.lose_pod("pod-1")
    await world.settle()
    assert world.kube.reason("one", "Finished") == "ExecutorLost"
    await world.pipeline.close(0)


async def test_the_end_of_a_run_that_is_shown_after_the_next_one_took_work_does_not_end_that_work() -> None:
    world = World()
    world.add_pod()
    assert world.pipeline.pods.say_ready("pod-1", NOW, "10.0.0.1") is not None
    execution = make_execution()
    world.pipeline.see(execution)
    await world.settle()
    world.executors.answer = ExecutionState(execution_id=execution.execution_id, state="running")
    world.recovery.see_pod(make_pod(**backing_off(seconds_ago(10))))
    await world.settle()
    assert world.kube.phases["one"] == ["Running"]
    await world.pipeline.close(0)


def pool_and_pod() -> dict[str, list[dict[str, Any]]]:
    """What a list gives of the world's only pod, with one slot."""
    container = {"name": "executor", "state": {"running": {}}, "restartCount": 0}
    ready = [{"type": "Ready", "status": "True"}]
    pod = {
        "metadata": {"name": "pod-1", "uid": "uid-pod-1", "labels": {names.POOL_LABEL: "default"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "executor"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": ready, "containerStatuses": [container]},
    }
    pool = {"metadata": {"name": "default", "uid": "uid-default", "generation": 3}, "spec": {"concurrency": 1}}
    return {"executorpools": [pool], "pods": [pod]}


async def test_a_long_list_leaves_the_loop_to_others_in_between() -> None:
    world = World()
    world.kube.lists["executions"] = [body_of(f"one-{number:04d}") for number in range(1000)]
    seen = [0]

    async def watch() -> None:
        while True:
            seen.append(len(world.pipeline.registry))
            await asyncio.sleep(0)

    watching = asyncio.ensure_future(watch())
    await world.recovery.load()
    watching.cancel()
    seen.append(len(world.pipeline.registry))
    assert seen[-1] == 1000
    assert max(after - before for before, after in zip(seen, seen[1:], strict=False)) <= SEEN_AT_A_TIME
    await world.pipeline.close(0)


async def test_what_runs_keeps_its_slot_however_many_older_ones_wait() -> None:
    world = World()
    status = {"phase": "Running", "podName": "pod-1", "attempt": 1, "executionId": "exec_20260115_running0"}
    running = {**body_of("runs", "9000"), "status": status}
    waiting = [body_of(f"one-{number:04d}") for number in range(4 * SEEN_AT_A_TIME)]
    world.kube.lists |= {**pool_and_pod(), "executions": [*waiting, running]}
    world.executors.answer = ExecutionState(execution_id="exec_20260115_running0", state="running")
    await world.recovery.load()
    await world.settle()
    assert world.pipeline.placement.holders("pod-1") == {"uid-runs"}
    assert world.executors.requests == []
    assert world.pipeline.placement.queued("default") == len(waiting)
    await world.pipeline.close(0)


async def test_of_a_thousand_free_slots_some_are_claimed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.add_pod()
    world.pipeline.placement.set_pod("pod-1", "default", 1000, accepts=True)
    under_way, most, write = 0, 0, world.kube.replace_status

    async def write_slowly(path: str, body: dict[str, Any]) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return await write(path, body)

    monkeypatch.setattr(world.kube, "replace_status", write_slowly)
    for number in range(1000):
        world.pipeline.see(parse_execution(body_of(f"one-{number:04d}")))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(world.executors.requests) == 1000
    assert most == CLAIMS_AT_A_TIME
    await world.pipeline.close(0)


async def test_a_claim_among_few_looks_at_no_pool_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.add_pod()
    place, looked = world.pipeline.placement.place, 0

    def count(pool: str) -> Iterator[Placed]:
        nonlocal looked
        looked += 1
        return place(pool)

    monkeypatch.setattr(world.pipeline.placement, "place", count)
    world.pipeline.placement.set_pod("pod-1", "default", 10, accepts=True)
    for number in range(30):
        world.pipeline.see(parse_execution(body_of(f"one-{number:04d}")))
    await world.settle()
    assert len(world.executors.requests) == 10
    assert looked == 1
    await world.pipeline.close(0)
