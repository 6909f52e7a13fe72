"""What anybody may answer to our clients, over a real connection: garbage, half answers, redirects, forged results."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.control_plane_api import ResultReport
from contracts.control_plane_retry import Outcome
from contracts.errors import ErrorBody
from contracts.execution import ExecutionStatus
from contracts.executor_api import ExecutionRequest, ExecutionState
from controller.clients import control_plane as controllers
from controller.clients.executor import ExecutorClient
from controller.clients.kube import _error
from controller.errors import ExecutorError, KubeError
from controller.facts import Refused, ResultSeen
from controller.status import advance
from executor_runtime import control_plane as executors
from executor_runtime.secret import Redactor, Token
from tests.unit.controller.builders import EXECUTION_ID, NOW, make_report
from tests.unit.fuzz.kubernetes import assert_storable
from tests.unit.fuzz.profile import fuzzed
from tests.unit.fuzz.strategies import bodies, mostly

SECRET = "a-token-that-only-we-may-see"
RUNNING = ExecutionStatus(phase="Running", attempt=1, start_time=NOW)
REQUEST = ExecutionRequest(code="x", language="python", execution_id=EXECUTION_ID)
RESULT = {
    **make_report(stdout="o", return_value={"a": 1}).model_dump(mode="json"),
    "artifact_metadata": [{"path": "a", "size": 1}],
}
STATE = {"execution_id": EXECUTION_ID, "state": "ended", "epoch": 1, "result": RESULT}
LIST = {"executions": [{"execution_id": EXECUTION_ID, "state": "running"}, STATE]}
HEALTH = {"status": "healthy", "version": "1", "uptime_seconds": 1.0, "active_executions": 1, "isolation": "full"}
ERROR = ErrorBody(
    error_code="Executor.Conflict", description="d", error_detail="e", solution="s", request_id="r"
).model_dump()

headers = st.sampled_from(
    [
        b"",
        b"Content-Length: 0\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: br\r\nContent-Type: application/json; charset=utf-7\r\n",
        b"Location: http://127.0.0.1:1/elsewhere\r\n",
        b"Location: \xff\r\nSet-Cookie: a=b\r\n",
        b"Connection: close\r\nRetry-After: never\r\n",
        b"X: " + b"y" * 70_000 + b"\r\n",
        b" folded\r\n: no name\r\n\0: nul\r\n",
    ]
)
statuses = st.sampled_from(
    [b"200", b"201", b"202", b"204", b"301", b"307", b"400", b"401", b"404", b"405", b"409", b"412"]
) | (
    st.sampled_from(
        [b"413", b"422", b"429", b"500", b"503", b"599", b"600", b"000", b"99", b"2000", b"-1", b"abc", b""]
    )
)


def answers(valid: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """What comes back on a connection: mostly HTTP of some kind."""

    def http(status: bytes, extra: bytes, body: bytes, framed: bool) -> bytes:
        length = b"Content-Length: %d\r\n" % len(body) if framed else extra
        return b"HTTP/1.1 %b Word\r\n%b\r\n%b" % (status, length, body)

    said = st.builds(
        http, mostly(st.just(b"200"), statuses), headers, bodies(valid), mostly(st.just(True), st.just(False))
    )
    return mostly(said, st.binary(max_size=80) | said.map(lambda raw: raw[: len(raw) // 2]))


class Server:
    """Answers each connection with the same bytes and closes it."""

    def __init__(self) -> None:
        self.answer = b""

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        writer.close()

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()


class Bench:
    """One loop, one server, our clients, and a way to make a call against an answer."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner, self.server = runner, Server()
        self.url = runner.run(self.server.start())
        self.executor = ExecutorClient(lambda: SECRET)
        self.of_executor = executors.ControlPlane(self.url, Token(SECRET, None, Redactor()))
        self.of_controller = controllers.ControlPlaneClient(self.url, lambda: SECRET)

    def ask(self, answer: bytes, call: Callable[[], Coroutine[Any, Any, Any]], *documented: type[Exception]) -> Any:
        """What a call gives when the server answers so; a documented exception, too."""
        self.server.answer = answer

        async def within() -> Any:
            async with asyncio.timeout(60):
                try:
                    return await call()
                except documented as error:
                    return error

        found = self.runner.run(within())
        assert SECRET not in f"{found!r} {found}"
        return found

    async def close(self) -> None:
        await self.executor.close()
        await self.of_executor.aclose()
        await self.of_controller.close()
        await self.server.stop()


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with asyncio.Runner() as runner:
        found = Bench(runner)
        yield found
        runner.run(found.close())


@fuzzed
@given(answers({"status": "noted"}))
def test_both_clients_of_the_control_plane(bench: Bench, answer: bytes) -> None:
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: bench.of_executor.post(executors.Call("/internal/x", b"{}", idempotency_key="k")),
        lambda: bench.of_controller.post(controllers.Call("/internal/x", b"{}", "k")),
    ]
    for call in calls:
        found = bench.ask(answer, call)
        assert isinstance(found.outcome, Outcome)
        assert len(found.detail) < 1000


@fuzzed
@given(answers(STATE))
def test_a_state_from_a_captured_executor(bench: Bench, answer: bytes) -> None:
    found = bench.ask(answer, lambda: bench.executor.ask(bench.url, EXECUTION_ID), ExecutorError)
    if isinstance(found, ExecutionState) and found.result is not None:
        after = advance(RUNNING, ResultSeen(1, ResultReport.of(found.result), NOW))
        assert after is not None
        assert_storable(after.to_kube())


@fuzzed
@given(answers(LIST), answers(HEALTH))
def test_a_list_and_a_health_from_a_captured_executor(bench: Bench, listed: bytes, health: bytes) -> None:
    bench.ask(listed, lambda: bench.executor.list_active(bench.url), ExecutorError)
    found = bench.ask(health, lambda: bench.executor.read_health(bench.url), ExecutorError)
    assert found is None or isinstance(found, ExecutorError) or found.isolation in ("full", "reduced")


@fuzzed
@given(answers(ERROR))
def test_a_refusal_from_a_captured_executor(bench: Bench, answer: bytes) -> None:
    found = bench.ask(answer, lambda: bench.executor.execute(bench.url, REQUEST, 1), ExecutorError)
    bench.ask(answer, lambda: bench.executor.cancel(bench.url, EXECUTION_ID, 1), ExecutorError)
    if isinstance(found, ExecutorError):
        after = advance(RUNNING, Refused("RefusedByExecutor", str(found), str(found), NOW))
        assert after is not None
        assert_storable(after.to_kube())


@fuzzed
@given(st.integers(100, 999), bodies({"kind": "Status", "reason": "Conflict", "message": "m", "code": 409}))
def test_an_error_from_in_front_of_the_api_server(status: int, body: bytes) -> None:
    assert isinstance(_error(status, body), KubeError)


def test_the_server_of_these_tests_is_heard(bench: Bench) -> None:
    """The proof that a good answer comes through."""
    bench.server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(bench.url)

    assert bench.runner.run(get()).text == "{}"
