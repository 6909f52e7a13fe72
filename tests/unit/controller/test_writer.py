"""The writer against an API server that conflicts, forgets to answer, and loses objects."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller import writer as writer_module
from controller.errors import KubeConflict, KubeNotFound, KubeTooLarge, KubeUnavailable
from controller.facts import Cancelled, Claimed, Fact, HeartbeatSeen, Reclaimed, ResultSeen, Waits
from controller.tracking import Tracked
from controller.writer import StatusWriter, Written
from tests.unit.controller.builders import EXECUTION_ID, NOW, make_execution, make_report

CLAIM = Claimed(EXECUTION_ID, 1, "pod-1", "node-1", NOW)
RESULT = ResultSeen(1, make_report(), NOW + timedelta(seconds=1))


class FakeKube:
    """One stored object, and what goes wrong with each write, in turn: nothing, or one of the words."""

    def __init__(self, *troubles: str, stored: dict[str, Any] | None = None) -> None:
        self.troubles = list(troubles)
        self.stored = stored or {}
        self.version = 7
        self.writes = 0
        self.room = 10**9

    async def get(self, path: str) -> dict[str, Any]:
        if self.stored.get("gone"):
            raise KubeNotFound(404, "NotFound", path)
        execution = make_execution()
        return {
            "metadata": {
                "name": "one",
                "namespace": "tenant",
                "uid": self.stored.get("uid", execution.uid),
                "resourceVersion": str(self.version),
                "creationTimestamp": "2026-01-15T12:00:00Z",
            },
            "spec": {"code": "x", "language": "python", **self.stored.get("spec", {})},
            "status": self.stored.get("status", {}),
        }

    async def replace_status(self, path: str, body: dict[str, Any]) -> str:
        trouble = self.troubles.pop(0) if self.troubles else ""
        self.writes += 1
        if trouble == "down":
            raise KubeUnavailable(0, "ClientError", "no answer")
        if len(json.dumps(body["status"])) > self.room:
            raise KubeTooLarge(500, "", "etcdserver: request is too large")
        if trouble == "changed":
            self.version += 1
        if trouble == "gone" or self.stored.get("gone"):
            raise KubeNotFound(404, "NotFound", path)
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise KubeConflict(409, "Conflict", "modified")
        self.version += 1
        self.stored["status"] = body["status"]
        if trouble == "answer lost":
            raise KubeUnavailable(0, "ClientError", "no answer")
        return str(self.version)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_BACKOFF_S", (0.0,))


async def record(kube: FakeKube, fact: Fact, tracked: Tracked | None = None) -> tuple[Written, Tracked]:
    tracked = tracked or Tracked(make_execution())
    return await StatusWriter(kube).record(tracked, fact), tracked  # type: ignore[arg-type]


async def test_one_write_when_nothing_goes_wrong() -> None:
    kube = FakeKube()
    outcome, tracked = await record(kube, CLAIM)
    assert (outcome, kube.writes) == (Written.YES, 1)
    assert tracked.execution.resource_version == "8"
    outcome, tracked = await record(kube, RESULT, tracked)
    assert (outcome, tracked.status.phase) == (Written.YES, "Succeeded")


@pytest.mark.parametrize("trouble", ["down", "changed", "answer lost"])
async def test_a_claim_and_a_result_survive(trouble: str) -> None:
    kube = FakeKube(trouble, "", trouble)
    outcome, tracked = await record(kube, CLAIM)
    assert (outcome, tracked.status.phase, tracked.status.attempt) == (Written.YES, "Running", 1)
    outcome, tracked = await record(kube, RESULT, tracked)
    assert (outcome, tracked.status.phase) == (Written.YES, "Succeeded")
    assert kube.stored["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("trouble", ["down", "changed", "answer lost"])
async def test_a_reclaim_survives_and_is_known_as_ours(trouble: str) -> None:
    named = replace(CLAIM, executor_run="a" * 32)
    again = Reclaimed(1, "a" * 32, NOW + timedelta(seconds=9))
    _, tracked = await record(FakeKube(), named)
    kube = FakeKube(trouble, stored={"status": tracked.status.to_kube()})
    kube.version = 8
    outcome, tracked = await record(kube, again, tracked)
    assert (outcome, tracked.status.start_time) == (Written.YES, again.time)


async def test_a_claim_that_another_one_has_made_is_not_ours() -> None:
    theirs = {"phase": "Running", "attempt": 1, "podName": "pod-2", "startTime": "2026-01-15T12:00:31Z"}
    kube = FakeKube("changed", stored={"status": theirs})
    outcome, tracked = await record(kube, CLAIM)
    assert outcome is Written.NO
    assert kube.stored["status"] == theirs
    assert tracked.status.pod_name == "pod-2"


async def test_a_stale_view_of_one_that_has_ended_starts_nothing() -> None:
    kube = FakeKube("changed", stored={"status": {"phase": "Succeeded"}})
    outcome, tracked = await record(kube, CLAIM)
    assert (outcome, tracked.execution.ended) == (Written.NO, True)
    assert kube.stored["status"] == {"phase": "Succeeded"}


async def test_a_terminal_phase_is_never_overwritten() -> None:
    kube = FakeKube("changed", stored={"status": {"phase": "Crashed"}})
    running = make_execution(status={"phase": "Running", "attempt": 1, "startTime": "2026-01-15T12:00:30Z"})
    outcome, _ = await record(kube, RESULT, Tracked(running))
    assert outcome is Written.NO
    assert kube.stored["status"] == {"phase": "Crashed"}


@pytest.mark.parametrize("stored", [{"gone": True}, {"uid": "another"}])
async def test_an_object_that_is_gone_or_another_is_told(stored: dict[str, Any]) -> None:
    outcome, tracked = await record(FakeKube("changed", stored=stored), CLAIM)
    assert (outcome, tracked.deleted) == (Written.GONE, True)


async def test_one_that_was_cancelled_meanwhile_is_not_claimed() -> None:
    kube = FakeKube("changed", stored={"spec": {"cancel": True}})
    outcome, tracked = await record(kube, CLAIM)
    assert (outcome, tracked.stop_wanted) == (Written.NO, True)
    assert "status" not in kube.stored


async def test_facts_about_one_execution_are_written_one_after_the_other() -> None:
    kube = FakeKube()
    tracked = Tracked(make_execution())
    outcomes = await asyncio.gather(*(record(kube, Cancelled("twice", NOW), tracked) for _ in range(5)))
    assert [outcome for outcome, _ in outcomes].count(Written.YES) >= 1
    assert kube.writes == 1


def test_an_older_view_never_replaces_a_newer_one() -> None:
    tracked = Tracked(replace(make_execution(), resource_version="100"))
    tracked.observe(replace(make_execution(), resource_version="99", generation=9))
    assert tracked.execution.generation == 1
    tracked.observe(replace(make_execution(), resource_version="101", generation=9))
    assert tracked.execution.generation == 9


LONG = make_report(stdout="o" * 60_000 + "end", stderr="e" * 60_000, return_value="r" * 60_000)


@pytest.mark.parametrize(("room", "kept"), [(10**6, 60_003), (30_000, 8192), (3_000, 0)])
async def test_what_etcd_has_no_room_for_is_cut(room: int, kept: int) -> None:
    kube = FakeKube()
    _, tracked = await record(kube, CLAIM)
    kube.room = room
    written, _ = await record(kube, ResultSeen(1, LONG, NOW), tracked)
    assert written is Written.YES
    status = kube.stored["status"]
    assert (status["phase"], len(status["stdout"])) == ("Succeeded", kept)
    assert status["stdoutTruncated"] is (kept < 60_003)
    assert status.get("returnValueTruncated") is (True if kept < 60_003 else None)
    assert status["stdout"].endswith("end") is (kept > 0)
    assert status["stdoutBytes"] == 60_003


@pytest.mark.parametrize("fact", [CLAIM, Cancelled("stop", NOW)])
async def test_an_object_without_room_for_a_claim_or_an_end_is_as_good_as_gone(fact: Fact) -> None:
    kube = FakeKube()
    kube.room = 10
    written, tracked = await record(kube, fact)
    assert (written, tracked.no_room) == (Written.GONE, True)


@pytest.mark.parametrize("fact", [HeartbeatSeen(1, {"a": "b" * 9000}, NOW), Waits("Queued", "it waits", NOW)])
async def test_what_ends_nothing_may_find_no_room(fact: Fact) -> None:
    kube = FakeKube()
    tracked = Tracked(make_execution())
    if isinstance(fact, HeartbeatSeen):
        await record(kube, CLAIM, tracked)
    kube.room = 10
    assert (await record(kube, fact, tracked))[0] is Written.NO
    assert not tracked.deleted
