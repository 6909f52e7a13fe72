"""What a captured executor may tell the controller: only documented answers, and a status that can be stored."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.control_plane_api import CONTAINER_EXITED_PATH, CONTAINER_READY_PATH
from controller.server import InternalApi
from tests.unit.controller.builders import NOW, make_report
from tests.unit.controller.world import World
from tests.unit.fuzz.kubernetes import assert_storable
from tests.unit.fuzz.profile import fuzzed
from tests.unit.fuzz.strategies import bodies, written

SHARED = "the-token-that-all-executors-have"
READY = {"container_id": "c", "pod_name": "pod-1", "executor_port": 8080, "ready_at": NOW.isoformat()}
EXITED = {
    "container_id": "c",
    "pod_name": "pod-1",
    "exit_code": 1,
    "exit_reason": "error",
    "exited_at": NOW.isoformat(),
}
BEAT: dict[str, Any] = {"timestamp": NOW.isoformat(), "progress": {"percent": 1}}
ARTIFACT = {"path": "a/b", "size": 1, "mime_type": "text/plain", "type": "output"}
METRICS = {"duration_ms": 1.0, "cpu_time_ms": 1.0, "peak_memory_mb": 1.0, "io_read_bytes": 1, "io_write_bytes": 1}
REPORT: dict[str, Any] = {
    **make_report(stdout="out", message="m", return_value={"a": 1}, artifacts=["a/b"]).model_dump(mode="json"),
    "metrics": METRICS,
    "artifact_metadata": [ARTIFACT],
}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as found:
        yield found


class Api:
    """The internal API of a controller with one Execution that runs; makes one call."""

    def __init__(self) -> None:
        self.world = World()

    async def call(self, path: str, token: bytes, body: bytes, headers: dict[str, bytes]) -> httpx.Response:
        execution = await self.world.start_one()
        self.id = execution.execution_id
        [request] = self.world.executors.requests
        assert request.report_token is not None
        self.report_token = request.report_token.get_secret_value()
        self.world.time = NOW + timedelta(seconds=30)  # so that a heartbeat is written
        app = InternalApi(self.world.reports, self.world.pipeline, lambda token: token == SHARED, lambda: True).build()
        own = {b"$own": self.report_token.encode(), b"$shared": SHARED.encode()}
        fields = {b"authorization": b"Bearer " + own.get(token, token), **{n.encode(): v for n, v in headers.items()}}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://controller") as client:
            content = body.replace(b"exec_20260115_a1b2c3d4", self.id.encode())
            answer = await client.post(path.replace("$id", self.id), content=content, headers=list(fields.items()))
        await self.world.settle()
        await self.world.pipeline.close(0)
        return answer

    def check(self, answer: httpx.Response, *documented: int) -> None:
        """A documented answer that says what is wrong and no secret; and what was written can be stored."""
        assert answer.status_code in documented, answer.text
        assert len(answer.content) < 2000
        for secret in (SHARED, self.report_token):
            assert secret not in answer.text
        assert_storable(self.world.kube.status["one"])


@fuzzed
@given(body=bodies(REPORT))
def test_any_result_is_taken_or_refused(runner: asyncio.Runner, body: bytes) -> None:
    api = Api()
    answer = runner.run(api.call("/internal/executions/$id/result", b"$own", body, {}))
    api.check(answer, 201, 413, 422)
    ended = api.world.kube.phases["one"] != ["Running"]
    assert ended is (answer.status_code == 201)


@fuzzed
@given(
    body=st.one_of(
        bodies(BEAT),
        bodies(BEAT["progress"]).map(lambda raw: b'{"timestamp":"%b","progress":%b}' % (NOW.isoformat().encode(), raw)),
    )
)
def test_any_heartbeat_is_taken_or_refused(runner: asyncio.Runner, body: bytes) -> None:
    api = Api()
    answer = runner.run(api.call("/internal/executions/$id/heartbeat", b"$own", body, {}))
    api.check(answer, 204, 413, 422)
    assert api.world.kube.phases["one"][0] == "Running"


@fuzzed
@given(
    st.sampled_from([("ready", READY), ("exited", EXITED)]).flatmap(lambda c: st.tuples(st.just(c[0]), bodies(c[1])))
)
def test_any_word_on_a_container_is_taken_or_refused(runner: asyncio.Runner, said: tuple[str, bytes]) -> None:
    api = Api()
    answer = runner.run(api.call(f"/internal/containers/{said[0]}", b"$shared", said[1], {}))
    api.check(answer, 204, 413, 422)
    assert api.world.kube.phases["one"] == ["Running"]


_paths = st.one_of(
    st.sampled_from([f"/internal/executions/$id/{what}" for what in ("result", "heartbeat")]),
    st.sampled_from([CONTAINER_READY_PATH, CONTAINER_EXITED_PATH, "/internal", "/openapi.json", "//internal"]),
    st.text(max_size=40).map(lambda text: f"/internal/executions/{quote(text)}/result"),
)
_values = st.binary(max_size=30).map(lambda raw: raw.translate(None, b"\r\n\0")) | st.sampled_from(
    [b"9" * 5000, b"\xb2", b"-1", b"", b"\xe9" * 400, b"x" * 2000]
)


@fuzzed
@given(
    _paths, _values | st.just(b"$own"), st.dictionaries(st.sampled_from(["content-length", "content-type"]), _values)
)
def test_without_the_right_token_nothing_is_changed(
    runner: asyncio.Runner, path: str, token: bytes, headers: dict[str, bytes]
) -> None:
    api = Api()
    answer = runner.run(api.call(path, token, written(REPORT), headers))
    api.check(answer, 201, 204, 401, 404, 405, 413, 422)
    if token != b"$own":
        assert answer.status_code in (401, 404, 405)
        assert api.world.kube.phases["one"] == ["Running"]
