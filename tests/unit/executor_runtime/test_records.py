from typing import Any

import pytest

from contracts.executor_api import ExecutionMetrics, ExecutionRequest, ExecutionResult, ExecutionState
from executor_runtime.queue import Ticket
from executor_runtime.records import FADED_AGE_S, Faded, Record, Records, digest_request
from tests.unit.executor_runtime.fake_time import FakeTime

RESULT = ExecutionResult(
    execution_id="exec_20260115_00000001",
    status="success",
    reason="Completed",
    exit_code=0,
    execution_time=1.0,
    stdout='quotes " and \\ and é',
    metrics=ExecutionMetrics(duration_ms=1000),
)


def make_record(number: int, body: bytes = b"{}", accepted_at: float = 0.0) -> Record:
    record = Record(
        execution_id=f"exec_20260115_{number:08d}",
        digest=bytes([number % 256]),
        language="python",
        report_token=None,
        ticket=Ticket(None),
        accepted_at=accepted_at,
    )
    record.body = body
    return record


def end(records: Records, record: Record) -> Record:
    record.state, record.status = "ended", "success"
    records.settle(record)
    return record


def make_request(**fields: Any) -> ExecutionRequest:
    base = {"code": "x", "language": "python", "execution_id": "exec_20260115_a1b2c3d4"}
    return ExecutionRequest.model_validate({**base, **fields})


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({}, True),
        ({"timeout": 30}, True),
        ({"report_token": "another"}, True),
        ({"timeout": 31}, False),
        ({"code": "y"}, False),
        ({"event": {"a": 1}}, False),
        ({"env_vars": {"A": "b"}}, False),
        ({"limits": {"processes": 3}}, False),
    ],
)
def test_the_digest_tells_requests_apart_but_not_their_tokens(fields: dict[str, Any], same: bool) -> None:
    assert (digest_request(make_request(report_token="one")) == digest_request(make_request(**fields))) is same


def test_the_digest_does_not_depend_on_the_order_of_names() -> None:
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert digest_request(make_request(event=one)) == digest_request(make_request(event=other))


def test_a_state_is_encoded_with_its_result_as_it_is() -> None:
    record = make_record(1, body=RESULT.model_dump_json().encode())
    assert ExecutionState.model_validate_json(record.encode().replace(b"queued", b"ended")).result == RESULT
    record.body = None
    assert ExecutionState.model_validate_json(record.encode()) == record.describe()


def test_results_fade_oldest_first_when_their_bytes_are_too_many() -> None:
    records = Records(FakeTime().clock, max_result_bytes=100)
    ended = []
    for number in range(3):
        record = make_record(number, body=b"x" * 40)
        records.add(record)
        ended.append(end(records, record))
    faded = records.find(ended[0].execution_id)
    assert isinstance(faded, Faded)
    assert (faded.digest, faded.status) == (ended[0].digest, "success")
    assert ExecutionState.model_validate_json(faded.encode()).state == "ended"
    assert [records.find(record.execution_id) for record in ended[1:]] == ended[1:]


def test_results_fade_when_they_are_too_many_and_active_ones_never() -> None:
    records = Records(FakeTime().clock, max_results=2)
    active = make_record(100)
    records.add(active)
    ended = [end(records, make_record(number)) for number in range(5)]
    assert records.find(active.execution_id) is active
    assert [type(records.find(record.execution_id)) for record in ended] == [Faded] * 3 + [Record] * 2


def test_an_id_is_remembered_for_a_day_and_in_bounded_number() -> None:
    time = FakeTime()
    records = Records(time.clock, max_results=0, max_faded=3)
    ids = []
    for number in range(5):
        ids.append(end(records, make_record(number)).execution_id)
    assert [records.find(execution_id) is None for execution_id in ids] == [True, True, False, False, False]
    time.seconds += FADED_AGE_S + 1
    end(records, make_record(9))
    assert [records.find(execution_id) is None for execution_id in ids] == [True] * 5


def test_the_list_has_active_and_recent_ones_by_acceptance() -> None:
    records = Records(FakeTime().clock)
    first, second, third = (make_record(number, accepted_at=float(number)) for number in range(3))
    for record in (first, second, third):
        records.add(record)
    end(records, second)
    assert list(records) == [first, second, third]
    assert records.active() == [first, third]
