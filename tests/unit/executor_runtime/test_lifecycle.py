import asyncio
import json

import httpx
import pytest

from executor_runtime.control_plane import ControlPlane
from executor_runtime.lifecycle import Identity, Lifecycle
from executor_runtime.secret import Redactor, Token
from tests.unit.executor_runtime.answers import make_answer, sending_to
from tests.unit.executor_runtime.fake_time import FakeTime

IDENTITY = Identity("container-1", "pod-1", 8080, 1000.0)


async def announce(answers: list[int]) -> tuple[FakeTime, list[httpx.Request]]:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return make_answer(answers.pop(0))

    time = FakeTime()
    control_plane = ControlPlane("http://cp", Token("t", None, Redactor()), sending_to(answer))
    task = asyncio.create_task(Lifecycle(control_plane, IDENTITY, time.clock).announce_ready())
    await time.advance(1000)
    await task
    await control_plane.aclose()
    return time, requests


async def test_ready_is_told_until_it_is_accepted() -> None:
    time, requests = await announce([503] * 7 + [401, 200])
    assert time.slept == [1, 2, 4, 8, 10, 10, 10, 10]
    assert len({request.headers["Idempotency-Key"] for request in requests}) == 1
    assert json.loads(requests[-1].content) == {
        "container_id": "container-1",
        "pod_name": "pod-1",
        "executor_port": 8080,
        "ready_at": "2026-01-15T12:00:00Z",
    }


@pytest.mark.parametrize("status", [400, 404, 409])
async def test_ready_that_is_refused_is_not_told_again(status: int) -> None:
    _, requests = await announce([status])
    assert len(requests) == 1


async def test_exited_is_told_once() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return make_answer(503)

    control_plane = ControlPlane("http://cp/prefix/", Token("t", None, Redactor()), sending_to(answer))
    await Lifecycle(control_plane, IDENTITY, FakeTime().clock).announce_exited(143, "sigterm")
    await control_plane.aclose()
    (request,) = requests
    assert str(request.url) == "http://cp/prefix/internal/containers/exited"
    assert json.loads(request.content) == {
        "container_id": "container-1",
        "pod_name": "pod-1",
        "exit_code": 143,
        "exit_reason": "sigterm",
        "exited_at": "2026-01-15T12:00:00Z",
    }
