"""Whatever is sent: a clear error in the one form, and an executor that stays healthy."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from contracts.errors import ErrorBody
from executor_runtime.protocol import BoundedProtocol
from tests.integration.executor.conftest import make_request
from tests.integration.executor.running import RunningExecutor
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.sandbox

JSON = {"Content-Type": "application/json"}


def body_with(**fields: Any) -> bytes:
    return json.dumps({**make_request(), **fields}).encode()


BAD_BODIES = {
    "empty": (b"", "body"),
    "not json": (b"{", "body"),
    "an array": (b"[]", "array"),
    "null": (b"null", "null"),
    "invalid utf-8": (b'{"code": "\xff"}', "unicode"),
    "utf-16": (body_with().decode().encode("utf-16"), "body"),
    "half a surrogate": (body_with(code="\ud800"), "hex escape"),
    "nan": (body_with(event=float("nan")), "body"),
    "a number that overflows": (body_with(event=0).replace(b'"event": 0', b'"event": 1e999'), "too large"),
    "deep nesting": (
        body_with(event=0).replace(b'"event": 0', b'"event": ' + b"[" * 10_000 + b"]" * 10_000),
        "recursion",
    ),
    "a repeated name": (body_with().replace(b'"code"', b'"language": "python", "code"', 1), "language"),
    "no code": (
        json.dumps({"language": "python", "execution_id": "exec_20260115_a1b2c3d4"}).encode(),
        "code: is missing",
    ),
    "code too large": (body_with(code="x" * 1_048_577), "1048576"),
    "code too large in bytes": (body_with(code="é" * 600_000), "1048576"),
    "unknown language": (body_with(language="ruby"), "python"),
    "timeout 0": (body_with(timeout=0), "timeout"),
    "timeout 3601": (body_with(timeout=3601), "3600"),
    "timeout as a string": (body_with(timeout="30"), "timeout"),
    "timeout as a boolean": (body_with(timeout=True), "timeout"),
    "timeout as a fraction": (body_with(timeout=1.5), "timeout"),
    "wrong id": (body_with(execution_id="exec_2026_x"), "execution_id"),
    "id with a newline": (body_with(execution_id="exec_20260115_a1b2c3d4\n"), "execution_id"),
    "unknown field": (body_with(cod="x"), "cod"),
    "unknown limit": (body_with(limits={"memory": 1}), "limits.memory"),
    "limit too small": (body_with(limits={"memory_bytes": 1}), "16777216"),
    "stdin too large": (body_with(stdin="x" * 1_048_577), "1048576"),
    "event too large": (body_with(event="x" * 1_048_577), "1048576"),
    "env name": (body_with(env_vars={"A-B": "x"}), "env_vars.A-B"),
    "env value": (body_with(env_vars={"A": 1}), "env_vars.A"),
    "env value with nul": (body_with(env_vars={"A": "\0"}), "NUL"),
    "session id": (body_with(session_id="../x"), "session_id"),
    "report token": (body_with(report_token="a b\n"), "report_token"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_gets_400_that_names_what_is_wrong(client: httpx.AsyncClient, name: str) -> None:
    body, named = BAD_BODIES[name]
    answer = await client.post("/execute", content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    error = ErrorBody.model_validate_json(answer.content)
    assert error.error_code == "Executor.ValidationError"
    assert named in f"{error.description} {error.error_detail}"
    assert error.solution
    assert error.request_id == answer.headers["X-Request-ID"]


WRONG_VALUES: dict[str, list[Any]] = {
    "code": [None, 1, True, 1.5, [], {}],
    "language": [None, 1, [], {}, "", "Python", "python3", " python"],
    "execution_id": [None, 1, [], {}, "", "exec_20260115_A1B2C3D4", "exec_20260115_a1b2c3d", "xexec_20260115_a1b2c3d4"],
    "timeout": [None, "1", True, 1.5, [], {}, -1, 0, 3601, 2**63, 10**400],
    "stdin": [None, 1, True, [], {}],
    "session_id": [1, True, [], {}, "", "a" * 257, ".", "a/", "-a", "ä", "a\n"],
    "env_vars": [None, 1, "A=1", [], {"": "x"}, {"1A": "x"}, {"A=B": "x"}, {"A": None}, {"A" * 257: "x"}]
    + [{"A": "x" * 32_769}, {f"A{number}": "x" for number in range(257)}],
    "report_token": [1, True, [], {}, "", "ä", "a b", "a\nb", "x" * 4097],
    "limits": [None, 1, "", [], {"memory_bytes": "1"}, {"memory_bytes": 2**41}, {"cpu_seconds": 0}]
    + [{"processes": 0}, {"processes": 1.5}, {"open_files": True}, {"file_size_bytes": -1}]
    + [{"workspace_bytes": -1}, {"workspace_entries": 0}, {"workspace_entries": 1_000_001}, {"tmp_bytes": 1 << 20}],
}


@pytest.mark.parametrize("field", WRONG_VALUES)
async def test_each_field_wrong_in_each_way_is_named(client: httpx.AsyncClient, field: str) -> None:
    for value in WRONG_VALUES[field]:
        answer = await client.post("/execute", content=body_with(**{field: value}), headers=JSON)
        assert answer.status_code == 400, (value, answer.text)
        assert field in answer.json()["error_detail"], (value, answer.text)
        assert answer.json()["solution"], (value, answer.text)


async def test_different_requests_under_one_id_at_the_same_moment_are_one_run(client: httpx.AsyncClient) -> None:
    request = make_request("import time\ndef handler(event):\n    time.sleep(0.2)\n    return event\n")
    rivals = [{**request, "event": number % 2} for number in range(8)]
    answers = await asyncio.gather(*(client.post("/execute", json=rival) for rival in rivals))
    winner = next(answer.json()["return_value"] for answer in answers if answer.status_code == 200)
    for rival, answer in zip(rivals, answers, strict=True):
        if rival["event"] == winner:
            assert (answer.status_code, answer.json()["return_value"]) == (200, winner)
        else:
            assert (answer.status_code, answer.json()["error_code"]) == (409, "Executor.Conflict")


async def test_errors_do_not_quote_secrets(client: httpx.AsyncClient) -> None:
    body = body_with(report_token="hush hush", env_vars={"A": 1, "B": "hush hush"}, limits="hush hush")
    answer = await client.post("/execute", content=body, headers=JSON)
    assert answer.status_code == 400
    assert "hush" not in answer.text


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
async def test_a_wrong_content_type_is_told_what_to_send(client: httpx.AsyncClient, content_type: str) -> None:
    answer = await client.post("/execute", content=body_with(), headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["solution"]) == (400, "Send the header Content-Type: application/json.")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "Executor.NotFound"),
        ("GET", "/execute", 405, "Executor.MethodNotAllowed"),
        ("DELETE", "/health", 405, "Executor.MethodNotAllowed"),
        ("GET", "/executions/exec_20260115_unknown0", 404, "Executor.NotFound"),
        ("DELETE", "/executions/exec_20260115_unknown0", 404, "Executor.NotFound"),
        ("GET", "/executions/%00%ff/artifacts/x", 404, "Executor.NotFound"),
    ],
)
async def test_every_refusal_has_the_one_form(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert ErrorBody.model_validate_json(answer.content).request_id == answer.headers["X-Request-ID"]
    assert ("Allow" in answer.headers) == (status == 405)


async def test_a_sane_request_id_is_taken_and_others_are_replaced(client: httpx.AsyncClient) -> None:
    given = await client.get("/health", headers={"X-Request-ID": "trace-1.a_B"})
    assert given.headers["X-Request-ID"] == "trace-1.a_B"
    for strange in (b"a b", b"x" * 129, "ä".encode()):
        made = await client.get("/health", headers={b"X-Request-ID": strange})
        assert len(made.headers["X-Request-ID"]) == 32


async def test_a_declared_length_over_the_limit_is_refused_without_the_body(shared_executor: RunningExecutor) -> None:
    head = b"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_executor.port)
    try:
        writer.write(head)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE_S)
    finally:
        writer.close()
        await writer.wait_closed()
    assert b" 400 " in answer


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_body_of_100_mb_is_refused_in_the_one_form_and_never_held(
    client: httpx.AsyncClient, shared_executor: RunningExecutor, declared: bool
) -> None:
    async def send() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 2**20

    headers = {**JSON, "Content-Length": str(100 * 2**20)} if declared else JSON
    before = peak_bytes(shared_executor)
    answer = await client.post("/execute", content=send(), headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "Executor.ValidationError")
    assert "16777216" in answer.json()["description"]
    assert peak_bytes(shared_executor) - before < 48 * 2**20


def peak_bytes(executor: RunningExecutor) -> int:
    """Most memory that the executor ever held (proc(5), VmHWM)."""
    status = Path(f"/proc/{executor.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def test_an_endless_chunked_body_is_refused_on_the_way(shared_executor: RunningExecutor) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_executor.port)
    sent = 0

    async def send_forever() -> None:
        nonlocal sent
        writer.write(
            b"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        while True:
            writer.write(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
            await writer.drain()
            sent += 2**20

    sending = asyncio.create_task(send_forever())
    try:
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE_S)
        assert b" 400 " in answer
        ended = await asyncio.wait_for(asyncio.gather(sending, return_exceptions=True), PATIENCE_S)
        assert isinstance(ended[0], ConnectionError)  # the executor has hung up
        assert sent < 200 * 2**20
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_body_that_stalls_is_given_up(shared_executor: RunningExecutor) -> None:
    """The time limit itself is a unit test's; here: whoever hangs holds nobody else up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_executor.port)
    try:
        writer.write(
            b'POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"code":'
        )
        await writer.drain()
        async with shared_executor.client() as client:
            assert (await client.post("/execute", json=make_request(event=2))).json()["return_value"] == 2
    finally:
        writer.close()
        await writer.wait_closed()


async def test_an_endless_head_is_refused(shared_executor: RunningExecutor) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_executor.port)
    try:
        writer.write(b"GET /health HTTP/1.1\r\nX-Long: " + b"x" * 60_000)
        answer = asyncio.create_task(reader.readuntil(b"\r\n"))
        for _ in range(2):
            await asyncio.sleep(0.1)
            writer.write(b"x" * 60_000)
        assert b" 400 " in await asyncio.wait_for(answer, PATIENCE_S)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_head_that_does_not_come_is_given_up() -> None:
    """The same protocol with a shorter patience, in this process."""

    class Impatient(BoundedProtocol):
        head_timeout_s = 0.1

    async def app(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError("nothing was asked")

    config = uvicorn.Config(app, http=Impatient, lifespan="off", ws="none", log_config=None)
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: Impatient(config, ServerState(), {}), "127.0.0.1", 0
    )
    try:
        for begun in (b"", b"GET /health HTTP/1.1\r\nHost: x"):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(begun)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    finally:
        server.close()
        await server.wait_closed()


async def test_answers_do_not_wait_for_delayed_acknowledgements(client: httpx.AsyncClient) -> None:
    """Without TCP_NODELAY every answer takes 40 ms longer: one that does not says it, however busy the machine is."""
    taken = []
    for _ in range(50):
        begun = time.perf_counter()
        await client.get("/health")
        taken.append(time.perf_counter() - begun)
    assert min(taken) < 0.03


async def test_with_a_token_set_everything_but_health_and_metrics_needs_it(
    start: Callable[..., RunningExecutor],
) -> None:
    executor = start(EXECUTE_API_TOKEN="right-token")
    async with executor.client() as client:
        for wrong in ({}, {"Authorization": "Bearer wrong-token"}, {"Authorization": "Basic right-token"}):
            for method, path in (
                ("POST", "/execute"),
                ("GET", "/executions"),
                ("GET", "/openapi.json"),
                ("GET", "/no"),
            ):
                answer = await client.request(method, path, headers=wrong)
                assert (answer.status_code, answer.json()["error_code"]) == (401, "Executor.Unauthorized")
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert not answer.json()["error_detail"]
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        allowed = await client.post("/execute", json=make_request(), headers={"Authorization": "Bearer right-token"})
        assert allowed.json()["status"] == "success"
    executor.terminate()
    assert "right-token" not in "".join(executor.raw_log)


async def test_the_executor_is_healthy_after_all_that(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json()["active_executions"] == 0
    assert (await client.post("/execute", json=make_request(event=1))).json()["return_value"] == 1
