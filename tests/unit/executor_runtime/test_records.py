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
    assert ExecutionState.model_validate_json(b"".join(record.encode()).replace(b"queued", b"ended")).result == RESULT
    record.body = None
    assert ExecutionState.model_validate_json(b"".join(record.encode())) == record.describe()


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
    assert ExecutionState.model_validate_json(b"".join(faded.encode())).state == "ended"
    assert [records.find(record.execution_id) for record in ended[1:]] == ended[1:]


def test_results_fade_when_they_are_too_many_and_active_ones_never() -> None:
    records = Records(FakeTime().clock, max_results=2)
    active = make_record(100)
    records.add(active)
    ended = [end(records, make_record(number)) for number in range(5)]
    assert records.find(active.execution_id) is active
    assert [type(records.find(record.execution_id)) for record in ended] == [Faded] * 3 + [Record] * 2


class Written:
    """Stands for an output of so many bytes."""

    def __init__(self, held_bytes: int) -> None:
        self.held_bytes, self.is_wanted = held_bytes, False

    def forget(self) -> None:
        self.held_bytes = 0


def test_outputs_of_ended_ones_are_bounded_and_those_that_somebody_follows_go_last() -> None:
    records = Records(FakeTime().clock, max_output_bytes=100)
    outputs = [Written(40) for _ in range(5)]
    outputs[0].is_wanted = True
    for number, output in enumerate(outputs):
        record = make_record(number)
        record.output = output  # type: ignore[assignment]
        end(records, record)
    assert [output.held_bytes for output in outputs] == [40, 0, 0, 0, 40]
    large = make_record(5)
    large.output = Written(200)  # type: ignore[assignment]
    end(records, large)
    assert [output.held_bytes for output in outputs] == [0] * 5
    assert large.output.held_bytes == 200, "the last one stays, however large it is"
    records.forget(large.execution_id)
    assert large.output.held_bytes == 0


def test_an_output_goes_with_its_result() -> None:
    records = Records(FakeTime().clock, max_results=1)
    first, second = make_record(1), make_record(2)
    for record in (first, second):
        record.output = Written(1)  # type: ignore[assignment]
        end(records, record)
    assert (first.output.held_bytes, second.output.held_bytes) == (0, 1)


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


def test_an_unknown_attempt_gets_a_tombstone_and_a_known_one_does_not() -> None:
    records = Records(FakeTime().clock, max_results=0)
    active, ended, unknown = make_record(1), make_record(2), "exec_20260115_unknown0"
    records.add(active)
    records.add(ended)
    end(records, ended)
    assert records.bury(active.execution_id, 1) is active
    assert isinstance(records.bury(ended.execution_id, 1), Faded)
    for _ in range(2):
        assert records.bury(unknown, 1) is None
    assert [records.is_buried(record, 1) for record in (active.execution_id, ended.execution_id, unknown)] == [
        False,
        False,
        True,
    ]
    assert records.find(unknown) is None


def test_a_tombstone_is_for_the_attempt_and_those_before_it() -> None:
    records = Records(FakeTime().clock)
    record = make_record(1)
    records.add(record)
    assert records.bury(record.execution_id, 3) is None
    assert records.bury(record.execution_id, 2) is None
    assert [records.is_buried(record.execution_id, attempt) for attempt in (1, 2, 3, 4)] == [True, True, True, False]


def test_an_earlier_attempt_than_the_one_that_is_known_does_not_begin() -> None:
    records = Records(FakeTime().clock)
    record = make_record(1)
    record.attempt = 2
    records.add(record)
    assert [records.is_buried(record.execution_id, attempt) for attempt in (1, 2, 3)] == [True, False, False]
    assert records.bury(record.execution_id, 1) is None
    assert not records.is_buried(record.execution_id, 2)


def test_an_earlier_attempt_that_has_ended_makes_room_for_the_next() -> None:
    records = Records(FakeTime().clock, max_result_bytes=100)
    for attempt in range(1, 6):
        record = make_record(1, body=b"x" * 40)
        record.attempt = attempt
        records.forget(record.execution_id)
        records.add(record)
        end(records, record)
    other = end(records, make_record(2, body=b"x" * 40))
    assert [records.find(known.execution_id) for known in (record, other)] == [record, other], "80 of 100 bytes"


def test_tombstones_are_kept_for_a_day_from_the_last_question_and_in_bounded_number() -> None:
    time = FakeTime()
    records = Records(time.clock, max_tombstones=3)
    ids = [f"exec_20260115_{number:08d}" for number in range(5)]
    for execution_id in ids:
        records.bury(execution_id, 1)
    assert [records.is_buried(execution_id, 1) for execution_id in ids] == [False, False, True, True, True]
    time.seconds += FADED_AGE_S - 1
    records.bury(ids[2], 1)
    time.seconds += 2
    records.bury("exec_20260115_another0", 1)
    assert [records.is_buried(execution_id, 1) for execution_id in ids] == [False, False, True, False, False]


def test_a_state_tells_which_leader_sent_it() -> None:
    record = make_record(1)
    record.epoch, record.body = 1_767_225_600_000_003, None
    assert record.describe().epoch == record.epoch
    assert ExecutionState.model_validate_json(b"".join(record.encode())).epoch == record.epoch
