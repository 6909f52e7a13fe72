"""Results: each answer of the Control Plane, what is written about it, and when the next attempt is."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from contracts.execution import ExecutionStatus
from controller.errors import KubeUnavailable
from controller.facts import Refused
from controller.relay.courier import CONCURRENT
from controller.resources import Execution
from controller.status import advance
from tests.unit.controller.builders import NOW, make_execution
from tests.unit.controller.relay.rig import HANG, Rig, Said, make_ended
from tests.unit.executor_runtime.fake_time import settle

DOWN: Said = "ClientConnectorError: refused"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    await made.stop()


@pytest.mark.parametrize(
    ("answers", "seconds", "status", "reason"),
    [
        ([201], 0, "True", "Accepted"),
        ([204], 0, "True", "Accepted"),
        ([200], 0, "True", "AlreadyKnown"),
        ([404], 0, "True", "NotKnown"),
        ([409], 0, "True", "Conflict"),
        ([400], 0, "False", "Refused"),
        ([403], 0, "False", "Refused"),
        ([413], 0, "False", "Refused"),
        ([422], 0, "False", "Refused"),
        ([503, 201], 1, "True", "Accepted"),
        ([DOWN, 200], 1, "True", "AlreadyKnown"),
        ([302, 201], 1, "True", "Accepted"),
        ([401, 401, 201], 3, "True", "Accepted"),
        ([429, 408, 425, 201], 7, "True", "Accepted"),
        ([DOWN, 500, 401, DOWN, 201], 15, "True", "Accepted"),
    ],
)
async def test_what_each_answer_means(rig: Rig, answers: list[Said], seconds: float, status: str, reason: str) -> None:
    rig.client.program = list(answers)
    await rig.start()
    rig.end()
    await rig.time.advance(seconds)
    assert rig.kube.condition("one")[:2] == (status, reason)
    assert rig.settled == ["one"]
    assert rig.kube.writes == {"one": 1}
    await rig.time.advance(3600)
    assert len(rig.client.calls) == len(answers)
    assert len({(call.idempotency_key, call.body) for call in rig.client.calls}) == 1
    assert rig.gauge("pending", kind="result") == 0


async def test_the_pauses_between_the_first_five_attempts_are_1_2_4_8(rig: Rig) -> None:
    rig.client.always = 503
    await rig.start()
    rig.end()
    made = []
    for second in range(25):
        await rig.time.advance(1 if second else 0)
        made.append(len(rig.client.calls))
    assert [second for second in range(25) if second == 0 or made[second] > made[second - 1]] == [0, 1, 3, 7, 15]


async def test_after_five_attempts_it_says_so_and_goes_on_at_a_slow_pace_until_it_is_taken(rig: Rig) -> None:
    rig.client.always = 500
    await rig.start()
    rig.end()
    await rig.time.advance(15)
    status, reason, message = rig.kube.condition("one")
    assert (status, reason) == ("False", "Unavailable")
    assert message == "5 attempts; the last one: HTTP 500"
    await rig.time.advance(600)
    assert 5 + 600 / 60 - 1 <= len(rig.client.calls) <= 5 + 600 / 30 + 1
    assert rig.kube.writes["one"] <= 2, "it is not written about at each attempt"
    assert rig.settled == []
    rig.client.always = 0
    await rig.time.advance(61)
    assert rig.kube.condition("one")[:2] == ("True", "Accepted")


async def test_a_controller_that_restarts_goes_on_counting_and_says_the_same(rig: Rig) -> None:
    rig.client.always = DOWN
    await rig.start()
    rig.end()
    await rig.time.advance(15)
    await rig.stop()
    second = rig.restart()
    await second.start()
    await second.time.advance(16)
    assert second.kube.condition("one")[1:] == ("Unreachable", f"6 attempts; the last one: {DOWN}")
    rig.client.always = 0
    await second.time.advance(61)
    assert second.kube.condition("one")[:2] == ("True", "Accepted")
    assert len({(call.idempotency_key, call.body) for call in rig.client.calls}) == 1
    await second.stop()


async def test_an_answer_that_was_lost_with_the_controller_is_a_repeat_for_the_next_one(rig: Rig) -> None:
    rig.client.program = [HANG]
    await rig.start()
    execution = rig.end()
    await settle()
    rig.client.known[rig.client.calls[0].path] = rig.client.calls[0].body
    await rig.stop()
    second = rig.restart()
    await second.start()
    await second.time.advance(1)
    assert second.kube.condition(execution.name)[:2] == ("True", "AlreadyKnown")
    assert len(rig.client.known) == 1
    await second.stop()


async def test_at_the_start_all_that_is_not_told_is_told_and_nothing_else(rig: Rig) -> None:
    told = make_ended("3")
    for name in ("1", "2"):
        rig.end_as(make_ended(name), tell=False)
    rig.end_as(replace(told, status=_with_condition(told, "True", "Accepted")), tell=False)
    rig.end_as(replace(told, name="4", uid="uid-4", status=_with_condition(told, "False", "Refused")), tell=False)
    without = make_ended("5", conditions=[])
    rig.end_as(replace(without, status=without.status.model_copy(update={"conditions": None})), tell=False)
    rig.end_as(make_execution("6", status={"phase": "Running"}), tell=False)
    rig.end_as(make_execution("7"), tell=False)
    await rig.start()
    await rig.time.advance(1)
    assert sorted(rig.kube.writes) == ["1", "2", "5"]


def _with_condition(execution: Execution, status: str, reason: str) -> ExecutionStatus:
    conditions = [
        condition.model_copy(update={"status": status, "reason": reason}) if condition.type == "Reported" else condition
        for condition in execution.status.conditions or ()
    ]
    return execution.status.model_copy(update={"conditions": conditions})


async def test_one_that_ends_while_nobody_notices_is_found_by_the_next_list(rig: Rig) -> None:
    await rig.start()
    rig.end_as(make_ended("missed"), tell=False)
    await rig.time.advance(299)
    assert rig.client.calls == []
    await rig.time.advance(2)
    assert rig.kube.condition("missed")[:2] == ("True", "Accepted")


async def test_a_dead_control_plane_costs_one_call_at_a_time_and_each_is_told_once_when_it_is_back(rig: Rig) -> None:
    rig.client.always = DOWN
    await rig.start()
    for number in range(10_000):
        rig.end(str(number))
    await rig.time.advance(1)
    at_first = len(rig.client.calls)
    assert at_first <= 5 + CONCURRENT
    rig.client.most_under_way = 0
    await rig.time.advance(600)
    assert len(rig.client.calls) - at_first <= 600 / 10 + 5
    assert rig.client.most_under_way == 1
    assert rig.gauge("circuit_open") == 1
    assert rig.gauge("oldest_pending_seconds") == 601
    assert rig.gauge("pending", kind="result") == 10_000
    assert sum(rig.kube.writes.values()) < 100
    rig.client.always = 0
    await rig.time.advance(10)
    assert rig.gauge("circuit_open") == 0
    await rig.time.advance(180)
    assert len(rig.client.known) == 10_000
    assert sum(path == "result" for path in rig.client.paths()) - at_first < 10_000 + 100
    assert rig.gauge("pending", kind="result") == 0
    assert rig.gauge("oldest_pending_seconds") == 0


async def test_a_slow_control_plane_has_a_bounded_number_of_calls_under_way(rig: Rig) -> None:
    rig.client.always = HANG
    await rig.start()
    for number in range(200):
        rig.end(str(number))
    await rig.time.advance(30)
    assert rig.client.most_under_way == CONCURRENT


async def test_one_that_is_always_refused_service_does_not_hold_up_the_others(rig: Rig) -> None:
    await rig.start()
    rig.client.program = [500] * 4
    rig.end("poison")
    await rig.time.advance(7)
    rig.client.program = [500]
    await rig.time.advance(8)
    rig.end("fine")
    rig.client.program = []
    await rig.time.advance(12)
    assert rig.kube.condition("fine")[:2] == ("True", "Accepted")


async def test_an_api_server_that_is_down_costs_no_attempt(rig: Rig) -> None:
    await rig.start()
    rig.kube.trouble = KubeUnavailable(0, "ClientError", "no answer")
    rig.end()
    await rig.time.advance(120)
    assert rig.client.calls == []
    rig.kube.trouble = None
    await rig.time.advance(31)
    assert rig.kube.condition("one")[:2] == ("True", "Accepted")


async def test_one_that_was_deleted_before_it_was_told_is_told_as_deleted(rig: Rig) -> None:
    rig.client.program = [503]
    await rig.start()
    rig.end()
    await settle()
    rig.kube.objects.clear()
    await rig.time.advance(2)
    assert [(said["status"], said["reason"]) for said in rig.client.results()] == [
        ("success", "Completed"),
        ("crashed", "Deleted"),
    ]
    assert rig.gauge("pending", kind="result") == 0


async def test_one_that_was_deleted_is_not_told_of_when_another_has_its_id_now(rig: Rig) -> None:
    execution = rig.end()
    rig.kube.objects.clear()
    other = make_execution("other", executionId=execution.execution_id)
    rig.end_as(other, tell=False)
    await rig.start()
    await rig.time.advance(2)
    assert rig.client.calls == []


def rejected(name: str, execution_id: str, reason: str = "DuplicateExecutionId") -> Execution:
    execution = make_execution(name, executionId=execution_id)
    status = advance(execution.status, Refused(reason, "no", "another", NOW), 1)
    assert status is not None
    return replace(execution, status=status)


async def test_one_that_asked_for_the_id_of_another_says_nothing_of_it(rig: Rig) -> None:
    owner = make_ended("owner")
    rig.end_as(owner, tell=False)
    rig.end_as(rejected("younger", owner.execution_id), tell=True)
    rig.client.always = 0
    await rig.start()
    await rig.time.advance(1)
    assert rig.kube.condition("younger")[:2] == ("True", "NotOwner")
    assert [said["status"] for said in rig.client.results()] == ["success"]


async def test_one_that_was_rejected_is_told_when_the_id_is_its_own(rig: Rig) -> None:
    await rig.start()
    rig.end_as(rejected("mine", "exec_20260115_mineonly", "QueueFull"), tell=True)
    await rig.time.advance(1)
    assert rig.kube.condition("mine")[:2] == ("True", "Accepted")
    [said] = rig.client.results()
    assert (said["execution_id"], said["status"], said["reason"]) == ("exec_20260115_mineonly", "failed", "Rejected")


async def test_an_object_that_was_made_anew_under_the_name_is_left_alone(rig: Rig) -> None:
    await rig.start()
    rig.client.program = [503]
    first = rig.end()
    await settle()
    rig.end_as(replace(make_execution("one"), uid="another"), tell=False)
    await rig.time.advance(2)
    assert rig.kube.condition("one") == ("", "", "")
    assert [said["execution_id"] for said in rig.client.results()] == [first.execution_id] * 2
