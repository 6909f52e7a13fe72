import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from contracts.control_plane_api import ResultReport
from contracts.control_plane_retry import backoff_s
from contracts.executor_api import ExecutionMetrics, ExecutionResult
from executor_runtime.control_plane import ControlPlane
from executor_runtime.report import REPLAY_INTERVAL_S, SYNC_AFTER_S, Reporter, build_crash_report
from executor_runtime.secret import Redactor, Token
from executor_runtime.spool import Spool, SpoolFile
from tests.unit.executor_runtime.answers import make_answer, sending_to
from tests.unit.executor_runtime.fake_time import FakeTime

ID = "exec_20260115_a1b2c3d4"
NETWORK_ERROR = 0


class Scripted:
    """A transport that gives the next of its answers; the last one for ever."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == NETWORK_ERROR:
            raise ConnectionRefusedError("nobody there")
        return make_answer(answer)


class Rig:
    """A reporter on fake time, a scripted Control Plane, and a real directory."""

    def __init__(self, directory: Path, *answers: int, token: Token | None = None) -> None:
        self.time = FakeTime()
        self.transport = Scripted(*answers)
        self.redactor = Redactor()
        self.counts: Counter[str] = Counter()
        self.spool = Spool(directory / "results", max_waiting_bytes=1)
        self.control_plane = ControlPlane(
            "http://cp", token or Token("shared", None, self.redactor), send=sending_to(self.transport)
        )
        self.reporter = Reporter(self.control_plane, self.spool, self.redactor, self.time.clock, self._count)

    async def send(self, report: ResultReport, token: str | None = None) -> None:
        """Sends, with as much time as it takes: real threads write the spool, so real turns of the loop are given."""
        task = self.reporter.start(report, token)
        while not task.done():
            await self.time.advance(1)
            await asyncio.wait([task], timeout=0.001)
        await task

    def _count(self, outcome: str, how_many: int) -> None:
        self.counts[str(outcome)] += how_many


@pytest.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(*answers: int, token: Token | None = None) -> Rig:
        made.append(Rig(tmp_path, *answers, token=token))
        return made[-1]

    yield make
    for rig in made:
        await rig.reporter.close(0)
        await rig.control_plane.aclose()


def make_result(status: str = "success") -> ExecutionResult:
    return ExecutionResult.model_validate(
        {
            "execution_id": ID,
            "status": status,
            "reason": "Completed",
            "stdout": "out",
            "exit_code": 0,
            "execution_time": 0.5,
            "metrics": ExecutionMetrics(duration_ms=500),
            "return_value": {"a": 1},
        }
    )


RETRIED = [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("answers", "attempts", "pauses", "outcome", "left"),
    [
        ([201], 1, [], "accepted", []),
        ([200], 1, [], "accepted", []),
        ([503, 201], 2, RETRIED[:1], "accepted", []),
        ([401, 401, 201], 3, RETRIED[:2], "accepted", []),
        ([NETWORK_ERROR, 500, 401, NETWORK_ERROR, 201], 5, RETRIED, "accepted", []),
        ([500], 5, RETRIED, "unavailable", [f"{ID}.json"]),
        ([302], 5, RETRIED, "unavailable", [f"{ID}.json"]),
        ([401], 5, RETRIED, "unauthorized", [f"{ID}.json"]),
        ([429, 408, 425, 201], 4, RETRIED[:3], "accepted", []),
        ([NETWORK_ERROR], 5, RETRIED, "unreachable", [f"{ID}.json"]),
        ([404], 1, [], "dropped", []),
        ([409], 1, [], "dropped", []),
        ([503, 409], 2, RETRIED[:1], "dropped", []),
        ([422], 1, [], "refused", [f"{ID}.refused"]),
        ([400], 1, [], "refused", [f"{ID}.refused"]),
        ([403], 1, [], "refused", [f"{ID}.refused"]),
    ],
)
async def test_the_retry_table(
    make_rig: Callable[..., Rig],
    tmp_path: Path,
    answers: list[int],
    attempts: int,
    pauses: list[float],
    outcome: str,
    left: list[str],
) -> None:
    rig = make_rig(*answers)
    await rig.send(ResultReport.of(make_result()), "own-token")
    assert len(rig.transport.requests) == attempts
    assert [slept for slept in rig.time.slept if slept != SYNC_AFTER_S] == pauses
    assert rig.counts == {outcome: 1}
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == left
    keys = {request.headers["Idempotency-Key"] for request in rig.transport.requests}
    assert len(keys) == 1
    assert keys.pop().startswith(ID)
    assert {request.headers["Authorization"] for request in rig.transport.requests} == {"Bearer own-token"}
    assert len({request.content for request in rig.transport.requests}) == 1


def test_backoff_never_exceeds_ten_seconds() -> None:
    assert [backoff_s(failures) for failures in range(1, 8)] == [1, 2, 4, 8, 10, 10, 10]


async def test_the_token_is_read_again_for_each_attempt(make_rig: Callable[..., Rig], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    token = Token(None, file, Redactor())
    rig = make_rig(401, 201, token=token)
    task = rig.reporter.start(ResultReport.of(make_result()), None)
    while not rig.transport.requests:
        await asyncio.wait([task], timeout=0.001)
    file.write_text("second-token")
    while not task.done():
        await rig.time.advance(1)
        await asyncio.wait([task], timeout=0.001)
    shown = [request.headers["Authorization"] for request in rig.transport.requests]
    assert shown == ["Bearer first", "Bearer second-token"]


async def test_the_report_is_on_disk_before_the_first_attempt(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(201)
    seen: list[list[str]] = []
    answer = rig.transport.__call__

    async def look(request: httpx.Request) -> httpx.Response:
        seen.append(rig.spool.waiting())
        return await answer(request)

    rig.control_plane = ControlPlane("http://cp", Token("t", None, rig.redactor), sending_to(look))
    rig.reporter = Reporter(rig.control_plane, rig.spool, rig.redactor, rig.time.clock, lambda *_: None)
    await rig.send(ResultReport.of(make_result()))
    assert seen == [[ID]]
    assert rig.spool.waiting() == []


@pytest.mark.parametrize(("takes_s", "syncs"), [(SYNC_AFTER_S / 2, 0), (SYNC_AFTER_S * 2, 1)])
async def test_a_report_that_is_taken_soon_costs_no_sync_and_another_one(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch, takes_s: float, syncs: int
) -> None:
    rig = make_rig(201)
    synced: list[SpoolFile] = []
    has_synced = threading.Event()
    sync, answer = rig.spool.sync, rig.transport.__call__

    async def late(request: httpx.Request) -> httpx.Response:
        await rig.time.clock.sleep(takes_s)
        return await answer(request)

    def note(file: SpoolFile) -> None:
        sync(file)
        synced.append(file)
        has_synced.set()

    monkeypatch.setattr(rig.spool, "sync", note)
    rig.control_plane = ControlPlane("http://cp", Token("t", None, rig.redactor), sending_to(late))
    rig.reporter = Reporter(rig.control_plane, rig.spool, rig.redactor, rig.time.clock, lambda *_: None)
    sending = rig.reporter.start(ResultReport.of(make_result()), None)
    while takes_s not in rig.time.slept:
        await asyncio.wait([sending], timeout=0.001)
    await rig.time.advance(SYNC_AFTER_S * 2)
    await sending
    if syncs:
        assert await asyncio.to_thread(has_synced.wait, 60)
    assert len(synced) == syncs
    assert rig.spool.waiting() == []


async def test_a_sync_that_fails_is_logged_and_holds_nothing_up(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(503, 201)

    def fail(_: SpoolFile) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(rig.spool, "sync", fail)
    with capture_logs() as logs:
        await rig.send(ResultReport.of(make_result()))
    assert [line["error"] for line in logs if line["event"] == "spool_sync_failed"] == ["Input/output error"]
    assert rig.counts == {"accepted": 1}


async def test_what_is_spooled_is_sent_again_with_its_own_token_and_key(make_rig: Callable[..., Rig]) -> None:
    first = make_rig(503)
    await first.send(ResultReport.of(make_result()), "own-token")
    second = make_rig(201)
    await second.reporter.replay()
    before, after = first.transport.requests[0], second.transport.requests[0]
    assert after.content == before.content
    for header in ("Idempotency-Key", "Authorization"):
        assert after.headers[header] == before.headers[header]
    assert second.spool.waiting() == []
    await second.reporter.replay()
    assert len(second.transport.requests) == 1


async def test_a_replay_tries_each_once_and_stops_when_nobody_is_there(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(503)
    for number in range(3):
        await rig.send(
            ResultReport.of(make_result()).model_copy(update={"execution_id": f"exec_20260115_{number:08d}"})
        )
    rig.transport.requests.clear()
    await rig.reporter.replay()
    assert len(rig.transport.requests) == 3
    rig.transport.requests.clear()
    rig.transport.answers = [NETWORK_ERROR]
    await rig.reporter.replay()
    assert len(rig.transport.requests) == 1
    assert len(rig.spool.waiting()) == 3


async def test_replays_come_every_thirty_seconds(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(503)
    await rig.send(ResultReport.of(make_result()))
    rig.transport.requests.clear()
    rig.time.slept.clear()
    task = asyncio.create_task(rig.reporter.replay_forever())
    for rounds in (1, 2, 3):
        while len(rig.time.slept) < rounds:
            await asyncio.wait([task], timeout=0.001)
        assert len(rig.transport.requests) == rounds
        await rig.time.advance(REPLAY_INTERVAL_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert set(rig.time.slept) == {REPLAY_INTERVAL_S}


async def test_while_a_result_waits_for_space_nothing_new_is_wanted(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(500)
    assert not rig.reporter.backlog_full
    await rig.send(ResultReport.of(make_result()))
    assert rig.reporter.backlog_full
    assert rig.reporter.backlog_bytes > 0


async def test_a_full_disk_does_not_stop_the_report(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(503, 201)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rig.spool, "save", fail)
    await rig.send(ResultReport.of(make_result()))
    assert rig.counts == {"accepted": 1}
    assert len(rig.transport.requests) == 2


def test_an_error_is_told_as_failed() -> None:
    report = ResultReport.of(make_result("error"))
    assert report.status == "failed"
    assert report.return_value == {"a": 1}


def test_a_crash_report_has_what_was_written_till_then() -> None:
    report = build_crash_report(ID, True, make_result("failed"))
    assert (report.status, report.reason, report.exit_code, report.stdout) == ("crashed", "PodTerminated", -1, "out")
    assert report.return_value is None
    assert "nothing of it ran" in build_crash_report(ID, False, None).message


async def test_a_report_is_unsent_from_the_moment_it_is_begun_until_it_is_taken(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(NETWORK_ERROR, NETWORK_ERROR, NETWORK_ERROR, NETWORK_ERROR, NETWORK_ERROR, 201)
    report = ResultReport.of(make_result())
    sending = rig.reporter.start(report, None)
    assert rig.reporter.unsent == 1, "before it is on disk"
    while not sending.done():
        await rig.time.advance(1)
        assert rig.reporter.unsent == 1
        await asyncio.wait([sending], timeout=0.001)
    assert rig.reporter.unsent == 1, "all attempts have failed: it waits on disk"
    await rig.reporter.replay()
    assert rig.reporter.unsent == 0
