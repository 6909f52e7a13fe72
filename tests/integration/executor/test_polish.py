"""Languages over HTTP, and what is left in logs (the seed's T027, T030, T041, T089, T090, T094)."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from tests.fakes.control_plane import FakeControlPlane
from tests.integration.executor.conftest import make_request
from tests.integration.executor.running import RunningExecutor

pytestmark = pytest.mark.sandbox

Start = Callable[..., RunningExecutor]
RETURN_ALL = {
    "python": """
import os, sys

def handler(event):
    open('made.txt', 'w').write('x')
    print('out')
    print('err', file=sys.stderr)
    return [event, sys.stdin.read(), os.environ['NAME']]
""",
    "javascript": """
const fs = require('fs')
fs.writeFileSync('made.txt', 'x')
console.log('out')
console.error('err')
const event = JSON.parse(fs.readFileSync(process.env.EVENT_FILE, 'utf8'))
const value = [event, fs.readFileSync(0, 'utf8'), process.env.NAME]
console.log('===SANDBOX_RESULT===' + JSON.stringify(value) + '===SANDBOX_RESULT===')
""",
    "shell": """
printf x > made.txt
echo out
echo err >&2
echo "===SANDBOX_RESULT===[$(cat "$EVENT_FILE"), \\"$(cat)\\", \\"$NAME\\"]===SANDBOX_RESULT==="
""",
}


@pytest.mark.parametrize("language", RETURN_ALL)
async def test_each_language_gets_event_stdin_and_environment_over_http(
    client: httpx.AsyncClient, language: str
) -> None:
    request = make_request(
        RETURN_ALL[language], language=language, event={"n": [1, "é"]}, stdin="in", env_vars={"NAME": "value"}
    )
    result = (await client.post("/execute", json=request)).json()
    assert (result["status"], result["reason"]) == ("success", "Completed"), result
    assert result["return_value"] == [{"n": [1, "é"]}, "in", "value"]
    assert (result["stdout"], result["stderr"]) == ("out\n", "err\n")
    assert result["artifacts"] == ["made.txt"]
    assert result["metrics"]["peak_memory_mb"] > 0


async def test_the_request_id_is_in_every_log_line_of_an_execution(
    reporting: Start, control_plane: FakeControlPlane
) -> None:
    executor = reporting(LOG_LEVEL="DEBUG")
    request = make_request()
    async with executor.client() as client:
        await client.post("/execute", json=request, headers={"X-Request-ID": "trace-9"})
    await asyncio.to_thread(executor.wait_for_log, "result_reported")
    mine = [record for record in executor.log if record.get("execution_id") == request["execution_id"]]
    assert {record.get("request_id") for record in mine} == {"trace-9"}
    assert {"execution_started", "execution_completed", "result_reported"} <= {record["event_type"] for record in mine}
    for record in mine:
        assert {"timestamp", "level", "event_type", "container_id"} <= set(record)


async def test_every_attempt_at_a_report_is_logged_with_its_context(
    reporting: Start, control_plane: FakeControlPlane
) -> None:
    control_plane.program("result", 503)
    executor = reporting()
    request = make_request()
    async with executor.client() as client:
        await client.post("/execute", json=request)
    await asyncio.to_thread(executor.wait_for_log, "result_reported")
    (retried,) = [record for record in executor.log if record["event_type"] == "call_retried"]
    assert (retried["level"], retried["attempt"], retried["answer"]) == ("warning", 1, "HTTP 503")
    assert str(request["execution_id"]) in retried["call"]


async def test_output_that_is_cut_is_flagged_and_logged(start: Start) -> None:
    executor = start()
    request = make_request("head -c 10485761 /dev/zero | tr '\\0' x >&2", language="shell")
    async with executor.client() as client:
        result = (await client.post("/execute", json=request)).json()
    assert (result["stdout_truncated"], result["stderr_truncated"]) == (False, True)
    assert len(result["stderr"]) == 10_485_760
    logged = await asyncio.to_thread(executor.wait_for_log, "output_truncated")
    assert (logged["execution_id"], logged["stderr"]) == (request["execution_id"], True)
