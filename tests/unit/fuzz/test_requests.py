"""``POST /execute``: bytes from anybody."""

import asyncio
import base64
import json
import marshal
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from contracts import bounds, files
from contracts.executor_api import ExecutionRequest
from executor_runtime.errors import BodyRefused, ValidationFailed
from executor_runtime.records import digest_request
from executor_runtime.request import RequestReader, parse_request
from executor_runtime.sandbox import Job
from executor_runtime.workspace import Workspace
from tests.unit.fuzz.profile import fuzzed
from tests.unit.fuzz.strategies import bodies, changed, outcome_of, wild_text, written

SECRET = "a-token-that-nobody-may-see"
ENCODED = base64.b64encode(SECRET.encode()).decode()
VALID: dict[str, Any] = {
    "code": "def handler(event): return event",
    "language": "python",
    "execution_id": "exec_20260115_a1b2c3d4",
    "timeout": 5,
    "stdin": "",
    "event": {"a": [1, None]},
    "session_id": "s-1",
    "env_vars": {"NAME": SECRET},
    "report_token": SECRET,
    "limits": {"memory_bytes": 2**26, "processes": 4},
    "files": [{"path": "in/a", "content": ENCODED}, {"path": "b", "content": ""}],
}
WORKSPACE = Workspace(Path("/nowhere"), 0, 0)


def check_refusal(refusal: ValidationFailed) -> None:
    """One that a person can act on, of a bounded length, and that quotes no secret."""
    told = f"{refusal} {refusal.detail} {refusal.solution}"
    assert len(told) < 4000
    assert refusal.detail.isascii()  # what it quotes cannot break a line or a terminal
    assert refusal.detail
    assert refusal.solution
    assert not any(secret in told for secret in (SECRET, ENCODED))


@fuzzed
@given(bodies(VALID))
def test_any_bytes_are_a_request_or_a_refusal(body: bytes) -> None:
    found = outcome_of(lambda: parse_request(body), ValidationFailed)
    if isinstance(found, ValidationFailed):
        check_refusal(found)
        return
    assert isinstance(found, ExecutionRequest)
    assert SECRET not in repr((found.report_token, found.files))
    assert all(files.check_path(file.path) for file in found.files)
    again = parse_request(json.dumps(json.loads(body)).encode())
    assert digest_request(again) == digest_request(found)


@fuzzed
@given(changed(VALID))
def test_what_is_taken_reaches_the_sandbox_as_it_is(fields: dict[str, Any]) -> None:
    found = outcome_of(lambda: parse_request(written(fields)), ValidationFailed)
    if isinstance(found, ValidationFailed):
        return
    job = Job.from_request(found, WORKSPACE)
    fields_inside = (job.code, job.stdin, job.event, dict(job.env), job.language, job.timeout_s)
    assert marshal.loads(marshal.dumps(fields_inside, 2)) == fields_inside
    assert SECRET not in repr({name: value for name, value in vars(job).items() if name != "env"})
    assert job.limits.memory_bytes >= 16 * 2**20
    assert bounds.MIN_TIMEOUT_S <= job.timeout_s <= bounds.MAX_TIMEOUT_S


_headers = st.dictionaries(
    st.sampled_from(["content-type", "content-length", "transfer-encoding", "prefer"]),
    wild_text.map(lambda text: text.encode("latin-1", "replace"))
    | st.sampled_from([b"application/json", b"9" * 5000, b"\xb2", b"-1", b"0x10", b"1e3", b" 7 ", b"99999999999"]),
)


@fuzzed
@given(bodies(VALID), _headers)
def test_any_headers_are_read_or_refused(body: bytes, headers: dict[str, bytes]) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    raw = [(name.encode(), value) for name, value in {"content-type": b"application/json", **headers}.items()]
    request = Request({"type": "http", "method": "POST", "path": "/execute", "headers": raw}, receive)
    found = outcome_of(lambda: asyncio.run(RequestReader().read(request)), ValidationFailed, BodyRefused)
    if isinstance(found, ValidationFailed):
        check_refusal(found)
