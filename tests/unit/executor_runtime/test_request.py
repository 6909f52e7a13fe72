import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from contracts import bounds
from contracts.executor_api import ExecutionRequest
from executor_runtime.errors import BodyRefused, QueueFull, ValidationFailed
from executor_runtime.request import RequestReader, parse_request, parse_strict_json

VALID = {"code": "x", "language": "python", "execution_id": "exec_20260115_a1b2c3d4"}


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refuse(body: bytes) -> ValidationFailed | None:
    """The refusal of a body, if it is refused."""
    try:
        parse_request(body)
    except ValidationFailed as error:
        return error
    return None


class Body:
    """An ASGI body of given chunks; the last of them never comes if it ``hangs``."""

    def __init__(self, *chunks: bytes, hangs: bool = False, headers: dict[str, str] | None = None) -> None:
        self.chunks = list(chunks)
        self.hangs = hangs
        self.headers = {"content-type": "application/json", **(headers or {})}

    def request(self) -> Request:
        raw = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        return Request({"type": "http", "method": "POST", "path": "/execute", "headers": raw}, self.receive)

    async def receive(self) -> dict[str, Any]:
        if not self.chunks:
            if self.hangs:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": self.chunks.pop(0), "more_body": True}


async def test_a_valid_body_in_pieces_is_read() -> None:
    text = json.dumps(VALID).encode()
    request = await RequestReader().read(Body(text[:10], text[10:]).request())
    assert request == ExecutionRequest.model_validate(VALID)


async def test_a_body_that_grows_too_large_is_not_read_on() -> None:
    body = Body(*[b"x" * 2**20] * 100)
    with pytest.raises(BodyRefused, match=str(bounds.MAX_REQUEST_BYTES)) as refused:
        await RequestReader().read(body.request())
    assert refused.value.close_connection
    assert len(body.chunks) == 100 - bounds.MAX_REQUEST_BYTES // 2**20 - 1


async def test_a_declared_length_is_believed() -> None:
    body = Body(b"{}", headers={"content-length": str(bounds.MAX_REQUEST_BYTES + 1)})
    with pytest.raises(BodyRefused):
        await RequestReader().read(body.request())
    assert body.chunks == [b"{}"]


async def test_a_length_of_more_digits_than_a_number_may_have_is_no_number() -> None:
    body = Body(json.dumps(VALID).encode(), headers={"content-length": "9" * 5000})
    assert (await RequestReader().read(body.request())).code == "x"


async def test_a_body_that_does_not_end_in_time_is_given_up() -> None:
    with pytest.raises(BodyRefused, match="did not arrive within"):
        await RequestReader(timeout_s=0).read(Body(b"{", hangs=True).request())


async def test_bodies_together_are_bounded_and_given_back() -> None:
    reader = RequestReader(max_buffered_bytes=1000)
    first = asyncio.create_task(reader.read(Body(b" " * 900, hangs=True).request()))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await reader.read(Body(b" " * 200).request())
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    text = json.dumps(VALID).encode()
    assert (await reader.read(Body(b" " * 700, text).request())).code == "x"


@unhurried
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_request_or_a_refusal(body: bytes) -> None:
    refusal = refuse(body)
    assert refusal is None or (refusal.detail.isascii() and refusal.solution)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@unhurried
@given(_json)
def test_strict_json_reads_all_that_is_valid(value: Any) -> None:
    assert parse_strict_json(json.dumps(value).encode()) == value


@unhurried
@given(st.dictionaries(st.sampled_from([*ExecutionRequest.model_fields, "other"]), _json))
def test_any_fields_are_a_request_or_a_refusal_that_names_one(fields: dict[str, Any]) -> None:
    given_fields = {**VALID, **fields}
    refusal = refuse(json.dumps(given_fields).encode())
    if refusal is not None:
        assert any(refusal.detail.startswith(name) for name in given_fields)
        assert refusal.solution
