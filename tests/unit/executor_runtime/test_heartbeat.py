import asyncio
import json

import httpx
import pytest
from pydantic import JsonValue

from executor_runtime.control_plane import ControlPlane
from executor_runtime.heartbeat import Heart, Said
from executor_runtime.secret import Redactor, Token
from tests.unit.executor_runtime.answers import make_answer, sending_to
from tests.unit.executor_runtime.fake_time import FakeTime, settle

ID = "exec_20260115_a1b2c3d4"


class Recorder:
    """A transport that notes when each call began, and answers, hangs or fails."""

    def __init__(self, time: FakeTime, hangs: bool = False, status: int = 200) -> None:
        self.at: list[float] = []
        self.requests: list[httpx.Request] = []
        self._time, self._hangs, self._status = time, hangs, status

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.at.append(self._time.seconds)
        self.requests.append(request)
        if self._hangs:
            await asyncio.Event().wait()
        return make_answer(self._status)


def make_heart(time: FakeTime, recorder: Recorder) -> tuple[ControlPlane, Heart]:
    control_plane = ControlPlane("http://cp/prefix", Token("shared", None, Redactor()), send=sending_to(recorder))
    return control_plane, Heart(control_plane, ID, "own", time.clock)


async def test_it_beats_every_five_seconds_with_the_executions_token_and_stops() -> None:
    time = FakeTime()
    recorder = Recorder(time)
    control_plane, heart = make_heart(time, recorder)
    async with heart.beating():
        await time.advance(31)
    await time.advance(30)
    assert recorder.at == [5, 10, 15, 20, 25, 30]
    assert {str(request.url) for request in recorder.requests} == {
        f"http://cp/prefix/internal/executions/{ID}/heartbeat"
    }
    assert {request.headers["Authorization"] for request in recorder.requests} == {"Bearer own"}
    assert json.loads(recorder.requests[0].content) == {"timestamp": "2026-01-15T12:00:05Z"}
    await control_plane.aclose()


async def test_a_short_execution_costs_no_call() -> None:
    time = FakeTime()
    recorder = Recorder(time)
    control_plane, heart = make_heart(time, recorder)
    async with heart.beating():
        await time.advance(4.9)
    assert recorder.at == []
    await control_plane.aclose()


async def test_it_keeps_the_beat_while_no_call_is_answered_and_leaves_none_behind() -> None:
    time = FakeTime()
    recorder = Recorder(time, hangs=True)
    control_plane, heart = make_heart(time, recorder)
    before = asyncio.all_tasks()
    async with heart.beating():
        await time.advance(16)
        await settle()
        assert len(asyncio.all_tasks() - before) <= 2  # the loop, and one call at most
    assert recorder.at == [5, 10, 15]
    assert asyncio.all_tasks() == before
    await control_plane.aclose()


@pytest.mark.parametrize("status", [404, 500, 401])
async def test_a_refused_beat_changes_nothing(status: int) -> None:
    time = FakeTime()
    recorder = Recorder(time, status=status)
    control_plane, heart = make_heart(time, recorder)
    async with heart.beating():
        await time.advance(11)
    assert recorder.at == [5, 10]
    await control_plane.aclose()


async def test_after_a_stall_there_is_no_burst() -> None:
    time = FakeTime()
    recorder = Recorder(time)
    control_plane, heart = make_heart(time, recorder)
    async with heart.beating():
        await settle()
        time.seconds = 23.0  # the process got no CPU
        await time.advance(6)
    assert recorder.at == [23, 28]
    await control_plane.aclose()


async def test_an_error_in_the_block_still_stops_it() -> None:
    time = FakeTime()
    recorder = Recorder(time)
    control_plane, heart = make_heart(time, recorder)
    with pytest.raises(ValueError, match="broke"):
        async with heart.beating():
            raise ValueError("broke")
    await time.advance(20)
    assert recorder.at == []
    await control_plane.aclose()


async def test_each_beat_says_how_far_the_execution_is() -> None:
    time = FakeTime()
    recorder = Recorder(time)
    control_plane, _ = make_heart(time, recorder)
    said: list[dict[str, JsonValue] | None] = [None, {"percent": 40, "left": None}, {}]
    heart = Heart(control_plane, ID, "own", time.clock, look=lambda: Said(said[len(recorder.at)]))
    async with heart.beating():
        await time.advance(16)
    assert [json.loads(request.content).get("progress") for request in recorder.requests] == said
    await control_plane.aclose()


class Writing:
    """An execution that writes at these seconds, and what each beat said of it."""

    def __init__(self, *writes_at: float, tells_tails: bool = True) -> None:
        self._time = FakeTime()
        self._recorder = Recorder(self._time)
        self._writes_at, self._tells_tails = writes_at, tells_tails

    def _look(self) -> Said:
        written = sum(at <= self._time.seconds for at in self._writes_at)
        return Said({"n": written}, "x" * written or None)

    async def beat_for(self, seconds: float) -> list[tuple[float, str | None, bool]]:
        """(second, tail of stdout, whether it was between two beats) of each call."""
        control_plane, _ = make_heart(self._time, self._recorder)
        heart = Heart(control_plane, ID, "own", self._time.clock, self._look, tells_tails=self._tells_tails)
        async with heart.beating():
            await self._time.advance(seconds)
        await control_plane.aclose()
        bodies = [json.loads(request.content) for request in self._recorder.requests]
        said = [(body.get("stdout_tail"), body.get("between", False)) for body in bodies]
        assert all(body["progress"] == {"n": len(body.get("stdout_tail", ""))} for body in bodies if self._tells_tails)
        return [(at, *each) for at, each in zip(self._recorder.at, said, strict=True)]


async def test_new_output_is_told_between_two_beats_and_the_beats_stay_where_they_are() -> None:
    assert await Writing(1, 6, 11).beat_for(20.1) == [
        (2.5, "x", True),
        (5, "x", False),
        (7.5, "xx", True),
        (10, "xx", False),
        (12.5, "xxx", True),
        (15, "xxx", False),
        (20, "xxx", False),
    ]


async def test_a_silent_one_and_a_short_one_cost_no_call_more() -> None:
    assert await Writing().beat_for(11) == [(5, None, False), (10, None, False)]
    assert await Writing(0.1, 1, 2).beat_for(2.4) == []


async def test_nobody_but_the_controller_is_told_of_output() -> None:
    assert await Writing(1, 6, tells_tails=False).beat_for(11) == [(5, None, False), (10, None, False)]
