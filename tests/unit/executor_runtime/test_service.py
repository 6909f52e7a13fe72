"""What the service decides before anything runs. How it runs is ``tests/integration/executor``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.executor_api import ExecutionRequest, ExecutionState
from executor_runtime.control_plane import ControlPlane
from executor_runtime.errors import (
    BacklogFull,
    Buried,
    Conflict,
    Interrupted,
    NotFound,
    QueueFull,
    Terminating,
    ValidationFailed,
)
from executor_runtime.fencing import Sender
from executor_runtime.metrics import Metrics
from executor_runtime.queue import Queue, Ticket
from executor_runtime.records import Record, Records, digest_request
from executor_runtime.report import Reporter
from executor_runtime.retention import Retention
from executor_runtime.sandbox import Isolation, Sandbox
from executor_runtime.secret import Redactor, Token
from executor_runtime.service import Parts, Service, Upwards
from executor_runtime.spool import Spool
from executor_runtime.workspace import Workspaces
from tests.unit.executor_runtime.fake_time import FakeTime


def make_request(**fields: Any) -> ExecutionRequest:
    base = {"code": "x", "language": "python", "execution_id": "exec_20260115_a1b2c3d4"}
    return ExecutionRequest.model_validate({**base, **fields})


@pytest.fixture
def records() -> Records:
    return Records(FakeTime().clock, max_results=0)


@pytest.fixture
def service(tmp_path: Path, records: Records) -> Service:
    clock = FakeTime().clock
    isolation = Isolation(
        level="full",
        bwrap="/nowhere/bwrap",
        interpreters={"python": "/usr/bin/python3"},
        init_code=b"",
        python_path=(),
        seccomp_filter=b"",
    )
    return Service(
        Parts(
            sandbox=Sandbox(isolation),
            queue=Queue(1),
            records=records,
            retention=Retention(Workspaces(tmp_path), clock, 60, 60),
            metrics=Metrics(),
            redactor=Redactor(),
            clock=clock,
            upwards=None,
        )
    )


def know(records: Records, request: ExecutionRequest) -> Record:
    record = Record(request.execution_id, digest_request(request), "python", None, Ticket(None), 0.0)
    records.add(record)
    return record


def test_an_equal_request_joins_the_known_run(service: Service, records: Records) -> None:
    record = know(records, make_request())
    assert service.submit(make_request()) is record


def test_a_different_request_under_a_known_id_is_refused(service: Service, records: Records) -> None:
    know(records, make_request())
    with pytest.raises(Conflict, match="used for a different request"):
        service.submit(make_request(timeout=1))


def test_a_late_repeat_is_refused_instead_of_run(service: Service, records: Records) -> None:
    record = know(records, make_request())
    record.state, record.status = "ended", "success"
    records.settle(record)
    with pytest.raises(Conflict, match="not run again") as refused:
        service.submit(make_request())
    assert "status: success" in refused.value.detail
    state = ExecutionState.model_validate_json(b"".join(service.find(record.execution_id).encode()))
    assert (state.state, state.result) == ("ended", None)


def test_what_was_given_up_before_it_arrived_is_refused_and_not_found(service: Service) -> None:
    request = make_request()
    assert service.bury(request.execution_id) is None
    with pytest.raises(Buried) as refused:
        service.submit(request)
    assert (refused.value.http_status, refused.value.code) == (409, "Executor.Tombstone")
    with pytest.raises(NotFound):
        service.find(request.execution_id)
    assert service.recent() == []


def test_what_is_known_is_not_given_up(service: Service, records: Records) -> None:
    record = know(records, make_request())
    assert service.bury(record.execution_id) is record
    assert service.submit(make_request()) is record


def test_a_later_attempt_ends_the_earlier_one_and_begins_once_that_has_ended(
    service: Service, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, second = know(records, make_request()), Sender(epoch=9, attempt=2)
    with pytest.raises(QueueFull, match="being ended"):
        service.submit(make_request(), second)
    assert earlier.cancelled.is_set()
    earlier.state, earlier.status = "ended", "failed"
    records.settle(earlier)
    begun: list[Sender] = []
    monkeypatch.setattr(service, "_begin", lambda request, digest, sender: begun.append(sender))
    service.submit(make_request(), second)
    assert begun == [second]
    assert records.find(earlier.execution_id) is None


async def test_only_the_attempt_that_is_meant_is_cancelled(service: Service, records: Records) -> None:
    record = know(records, make_request())
    with pytest.raises(NotFound):
        await service.cancel(record.execution_id, attempt=2)
    assert not record.cancelled.is_set()


@pytest.mark.parametrize("text", ["", "x", "exec_20260115_a1b2c3d4\n", "exec_20260115_A1B2C3D4", "e" * 100_000])
def test_only_execution_ids_get_a_tombstone(service: Service, records: Records, text: str) -> None:
    with pytest.raises(ValidationFailed):
        service.bury(text)
    assert records.find(text) is None


def test_a_language_that_is_not_there_is_refused_with_those_that_are(service: Service) -> None:
    with pytest.raises(ValidationFailed) as refused:
        service.submit(make_request(language="javascript"))
    assert refused.value.solution == "Use one of: python."


async def test_while_unsent_results_fill_the_spool_nothing_new_begins(
    service: Service, records: Records, tmp_path: Path
) -> None:
    token, redactor, clock = Token("shared", None, Redactor()), Redactor(), FakeTime().clock
    control_plane = ControlPlane("http://cp", token)
    spool = Spool(tmp_path / "results", max_waiting_bytes=0)
    reporter = Reporter(control_plane, spool, redactor, clock, lambda outcome, count: None)
    full = Service(replace(service._parts, upwards=Upwards(control_plane, reporter), metrics=Metrics()))
    with pytest.raises(BacklogFull) as refused:
        full.submit(make_request())
    assert (refused.value.http_status, refused.value.headers["Retry-After"]) == (503, "30")
    known = know(records, make_request())
    assert full.submit(make_request()) is known
    await control_plane.aclose()


async def test_while_terminating_nothing_new_begins_and_what_is_known_can_be_asked(
    service: Service, records: Records
) -> None:
    record = know(records, make_request())
    await service.terminate(0)
    with pytest.raises(Terminating):
        service.submit(make_request(execution_id="exec_20260115_a1b2c3d5"))
    with pytest.raises(Interrupted):
        await service.wait(record)


def test_an_unknown_id_is_not_found(service: Service) -> None:
    with pytest.raises(NotFound):
        service.find("exec_20260115_unknown0")
