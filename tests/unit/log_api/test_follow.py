"""The order of sources: executor, executor again, a later attempt, the status; each with a scripted other side."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from contracts.execution import ExecutionStatus
from contracts.output_events import Ending, Position
from log_api import follow
from log_api.errors import OutputBroken, OutputUnknown, StatusError, not_found, unavailable
from log_api.events import Attempt, Chunk, Cursor, End, Event, Pause
from log_api.executions import View
from log_api.follow import Follower
from log_api.metrics import Metrics
from log_api.options import LogOptions

_WAITING = View("team-a", "x", "uid", "1", "Pending", "exec_20260115_a1b2c3d4", 0, "", "", 0, None)
_RUNNING = replace(_WAITING, resource_version="2", phase="Running", attempt=1, pod_name="pod-1")
_STATUS = ExecutionStatus.model_validate({"phase": "Succeeded", "stdout": "abc", "stdoutBytes": 3})
_ENDED = replace(_RUNNING, resource_version="3", phase="Succeeded", status=_STATUS)
_END = End(Ending(phase="Succeeded", stdout_bytes=3, stderr_bytes=0))
_FOLLOW = LogOptions(follow=True)
Script = list[Event | Exception]


class _Executions:
    """Gives the next view at each question."""

    def __init__(self, *views: View | StatusError) -> None:
        self.views = list(views)

    async def read(self, _namespace: str, _name: str) -> View:
        found = self.views.pop(0) if len(self.views) > 1 else self.views[0]
        if isinstance(found, StatusError):
            raise found
        return found

    async def wait_change(self, view: View) -> View | None:
        found = await self.read("", "")
        return None if found == view else found


class _Executors:
    """Tells the next script at each request; a script ends with an exception where it is to break."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.asked: list[tuple[str, Cursor, bool]] = []

    async def read(self, view: View, cursor: Cursor, *, follow: bool) -> AsyncGenerator[Event, None]:
        self.asked.append((view.pod_name, cursor, follow))
        for step in self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]:
            if isinstance(step, Exception):
                raise step
            yield step


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_PAUSES_S", (0.0, 0.0, 0.0))


async def _told(
    view: View, options: LogOptions, executions: _Executions, executors: _Executors | None = None
) -> list[Event]:
    follower = Follower(executions, executors or _Executors([]), Metrics())  # type: ignore[arg-type]
    found = [event async for event in follower.follow(view, options)]
    return [event for event in found if type(event).__name__ != "KeepAlive"]


async def test_from_the_executor_to_its_end() -> None:
    executors = _Executors([Chunk("stdout", b"abc"), _END])
    assert await _told(_RUNNING, _FOLLOW, _Executions(_RUNNING), executors) == [
        Attempt(1),
        Chunk("stdout", b"abc"),
        _END,
    ]
    assert executors.asked == [("pod-1", Cursor(1), True)]


async def test_again_from_where_it_broke_for_as_long_as_it_runs() -> None:
    broken = OutputBroken("x")
    again: list[Script] = [[broken]] * 20
    executors = _Executors([Chunk("stdout", b"ab"), broken], *again, [Chunk("stdout", b"c"), _END])
    told = await _told(_RUNNING, _FOLLOW, _Executions(_RUNNING), executors)
    assert told == [Attempt(1), Chunk("stdout", b"ab"), Chunk("stdout", b"c"), _END]
    assert {cursor for _, cursor, _ in executors.asked[1:]} == {Cursor(1, Position(2, 0))}


async def test_the_rest_from_the_status_when_the_executor_is_gone() -> None:
    executors = _Executors([Chunk("stdout", b"ab"), OutputUnknown("x")], [OutputUnknown("x")])
    told = await _told(_RUNNING, _FOLLOW, _Executions(_RUNNING, _ENDED), executors)
    assert told == [Attempt(1), Chunk("stdout", b"ab"), Chunk("stdout", b"c"), _END]


async def test_a_finished_one_from_its_status_only_after_the_executor_was_asked_in_vain() -> None:
    executors = _Executors([OutputBroken("x")])
    assert await _told(_ENDED, LogOptions(), _Executions(_ENDED), executors) == [
        Attempt(1),
        Chunk("stdout", b"abc"),
        _END,
    ]
    assert len(executors.asked) == 3
    executors = _Executors([OutputUnknown("x")])
    await _told(_ENDED, LogOptions(), _Executions(_ENDED), executors)
    assert len(executors.asked) == 1


async def test_one_that_waits() -> None:
    assert await _told(_WAITING, LogOptions(), _Executions(_WAITING)) == [Pause()]
    executors = _Executors([_END])
    told = await _told(_WAITING, _FOLLOW, _Executions(_WAITING, _WAITING, _RUNNING), executors)
    assert told == [Attempt(1), _END]


async def test_one_that_was_refused_is_read_from_its_status_alone() -> None:
    status = ExecutionStatus.model_validate({"phase": "Rejected"})
    refused = replace(_RUNNING, phase="Rejected", status=status)
    executors = _Executors([Chunk("stdout", b"another's"), _END])
    assert await _told(refused, _FOLLOW, _Executions(refused), executors) == [
        End(Ending(phase="Rejected", stdout_bytes=0, stderr_bytes=0))
    ]
    assert executors.asked == []


async def test_a_later_attempt_begins_at_zero() -> None:
    first = replace(_RUNNING, max_retries=1)
    second = replace(first, resource_version="4", attempt=2, pod_name="pod-2")
    executors = _Executors(
        [Chunk("stdout", b"ab"), End(Ending(phase="Crashed", stdout_bytes=2, stderr_bytes=0))],
        [Chunk("stdout", b"abc"), _END],
    )
    told = await _told(first, _FOLLOW, _Executions(first, first, second), executors)
    assert told == [Attempt(1), Chunk("stdout", b"ab"), Attempt(2), Chunk("stdout", b"abc"), _END]
    assert executors.asked == [("pod-1", Cursor(1), True), ("pod-2", Cursor(2), True)]


async def test_an_end_that_a_retry_might_follow_waits_for_the_verdict() -> None:
    first = replace(_RUNNING, max_retries=1)
    ended = replace(_ENDED, max_retries=1)
    executors = _Executors([_END])
    assert await _told(first, _FOLLOW, _Executions(first, first, ended), executors) == [Attempt(1), _END]
    assert len(executors.asked) == 1


async def test_offsets_count_for_their_attempt_alone() -> None:
    for named, asked in ((0, Cursor(1, Position(5, 6))), (1, Cursor(1, Position(5, 6))), (2, Cursor(1))):
        executors = _Executors([_END])
        await _told(
            _RUNNING, LogOptions(follow=True, start=Cursor(named, Position(5, 6))), _Executions(_RUNNING), executors
        )
        assert executors.asked[0][1] == asked


async def test_without_follow_a_silent_executor_is_said_and_one_that_knows_nothing_yet_is_no_error() -> None:
    with pytest.raises(StatusError, match="pod-1") as refused:
        await _told(_RUNNING, LogOptions(), _Executions(_RUNNING), _Executors([OutputBroken("no answer")]))
    assert refused.value.code == 503
    told = await _told(_RUNNING, LogOptions(), _Executions(_RUNNING), _Executors([OutputUnknown("x")]))
    assert told == [Attempt(1), Pause()]


async def test_one_that_is_deleted_or_made_anew_is_not_found() -> None:
    executors = _Executors([OutputBroken("x")])
    for after in (not_found("x"), replace(_RUNNING, uid="another")):
        with pytest.raises(StatusError) as refused:
            await _told(_RUNNING, _FOLLOW, _Executions(after), executors)
        assert refused.value.code == 404


async def test_as_many_as_may_follow_already() -> None:
    with pytest.raises(StatusError) as refused:
        await _told(_RUNNING, _FOLLOW, _Executions(_RUNNING), _Executors([OutputBroken("429", busy=True)]))
    assert refused.value.code == 429
    busy: list[Script] = [[OutputBroken("x", busy=True)]] * 9
    executors = _Executors([Chunk("stdout", b"ab"), OutputBroken("x")], *busy, [_END])
    told = await _told(_RUNNING, _FOLLOW, _Executions(_RUNNING), executors)
    assert told[-1] == _END, "who was told something already waits until the old connection is noticed"


async def test_an_api_server_that_restarts_is_no_end() -> None:
    down = unavailable("restarts")
    executors = _Executors([_END])
    assert await _told(_WAITING, _FOLLOW, _Executions(down, down, _RUNNING), executors) == [Attempt(1), _END]
    executors = _Executors([OutputBroken("x")], [_END])
    assert await _told(_RUNNING, _FOLLOW, _Executions(down, down, _RUNNING), executors) == [Attempt(1), _END]
    with pytest.raises(StatusError) as refused:
        await _told(_WAITING, _FOLLOW, _Executions(down))
    assert refused.value.code == 503
