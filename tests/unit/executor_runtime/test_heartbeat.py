import asyncio
import json

import httpx
import pytest
from pydantic import JsonValue

from executor_runtime.control_plane import ControlPlane
from executor_runtime.heartbeat import Heart
from executor_runtime.secret import Redactor, Token
from tests.unit.executor_runtime.answers import make_answer
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
    control_plane = ControlPlane(
        "http://cp/prefix", Token("shared", None, Redactor()), transport=httpx.MockTransport(recorder)
    )
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
    heart = Heart(control_plane, ID, "own", time.clock, progress=lambda: said[len(recorder.at)])
    async with heart.beating():
        await time.advance(16)
    assert [json.loads(request.content).get("progress") for request in recorder.requests] == said
    await control_plane.aclose()
