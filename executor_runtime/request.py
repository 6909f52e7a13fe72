"""From the bytes of ``POST /execute`` to a valid ``ExecutionRequest``, or to an error that says what to write.

The body is refused by its declared length, by what has arrived, or by the time it takes, before
it is held whole. The JSON is strict: nothing in it may mean two things to two readers.
"""

import asyncio
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from contracts import bounds
from contracts.executor_api import LANGUAGES, ExecutionLimits, ExecutionRequest, OutputOverflow
from contracts.ids import EXECUTION_ID_EXAMPLE
from executor_runtime.errors import BodyRefused, QueueFull, ValidationFailed
from executor_runtime.settings import TOKEN_PATTERN

BODY_TIMEOUT_S: Final = 30.0
MAX_BUFFERED_BYTES: Final = 8 * bounds.MAX_REQUEST_BYTES
"""Bodies that may be under way together; beyond that the next one gets a 503."""

_LENGTH: Final = re.compile("[0-9]{1,18}")
_SHOWN_CHARS: Final = 64
_MAX_SHOWN_ERRORS: Final = 5

_WRITE_INSTEAD: Final[Mapping[str, str]] = {
    "code": f"Send the source as a string of at most {bounds.MAX_CODE_BYTES} bytes of UTF-8.",
    "language": f"Use one of: {', '.join(LANGUAGES)}.",
    "execution_id": f"Write exec_, the date as eight digits, _, and eight of a-z or 0-9: {EXECUTION_ID_EXAMPLE}.",
    "timeout": f"Write a whole number of seconds from {bounds.MIN_TIMEOUT_S} to {bounds.MAX_TIMEOUT_S}, "
    f"or leave it out for {bounds.DEFAULT_TIMEOUT_S}.",
    "stdin": f"Send a string of at most {bounds.MAX_STDIN_BYTES} bytes of UTF-8, or leave it out.",
    "event": f"Send a JSON value of at most {bounds.MAX_EVENT_BYTES} bytes, or leave it out.",
    "session_id": "Use 1 to 256 letters, digits, '.', '_' or '-', beginning and ending with a letter or digit.",
    "env_vars": f"Send an object of at most {bounds.MAX_ENV_VARS} names (letters, digits and '_', no digit first) to "
    f"strings of at most {bounds.MAX_ENV_VALUE_BYTES} bytes without NUL.",
    "report_token": "Send 1 to 4096 visible ASCII characters without spaces, or leave it out.",
    "output_overflow": f"Use one of: {', '.join(get_args(OutputOverflow))}; or leave it out for drop.",
    "files": f"Send a list of at most {bounds.MAX_FILES} objects with a path relative to the workspace, such as "
    f"data/input.csv, and the content as base64, of at most {bounds.MAX_FILES_BYTES} bytes together.",
    "limits": f"Send {', '.join(ExecutionLimits.model_fields)} as whole numbers within their bounds, or leave them "
    "out.",
}


class RequestReader:
    """Reads requests; knows how many bytes of bodies are under way."""

    def __init__(self, timeout_s: float = BODY_TIMEOUT_S, max_buffered_bytes: int = MAX_BUFFERED_BYTES) -> None:
        self._timeout_s = timeout_s
        self._max_buffered_bytes = max_buffered_bytes
        self._buffered = 0

    async def read(self, request: Request) -> ExecutionRequest:
        """The request that a client sent.

        Raises:
            ValidationFailed: it is not one; the error names the field, the bound and what to write.
            QueueFull: too many bodies are under way.
        """
        _check_content_type(request.headers.get("content-type"))
        _check_length(request.headers.get("content-length"))
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._read_body(request)
        except TimeoutError:
            raise BodyRefused(
                f"The body did not arrive within {self._timeout_s:g} s.",
                detail="body: too slow",
                solution="Send the whole request without pauses.",
            ) from None
        return parse_request(body)

    async def _read_body(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                self._buffered += len(chunk)
                if len(body) > bounds.MAX_REQUEST_BYTES:
                    raise _too_large()
                if self._buffered > self._max_buffered_bytes:
                    raise QueueFull("Too many requests are being received.", solution="Send the request again later.")
            return bytes(body)
        finally:
            self._buffered -= len(body)


def parse_request(body: bytes) -> ExecutionRequest:
    """A valid request from its JSON, or ``ValidationFailed``."""
    fields = parse_strict_json(body)
    if not isinstance(fields, dict):
        raise ValidationFailed(
            "The body must be a JSON object.",
            detail=f"body: is {_json_type(fields)}",
            solution='Send {"code": …, "language": …, "execution_id": …}.',
        )
    try:
        request = ExecutionRequest.model_validate(fields)
    except ValidationError as error:
        raise _explain(error) from None
    token = request.report_token
    if token is not None and not TOKEN_PATTERN.fullmatch(token.get_secret_value()):
        raise _field_error("report_token", "must be visible ASCII without spaces")
    if request.event and len(body) > bounds.MAX_EVENT_BYTES:
        size = len(json.dumps(request.event, ensure_ascii=False, separators=(",", ":")).encode())
        if size > bounds.MAX_EVENT_BYTES:
            raise _field_error("event", f"is {size} bytes of JSON; at most {bounds.MAX_EVENT_BYTES} are allowed")
    return request


def parse_strict_json(body: bytes) -> Any:
    """RFC 8259 without its freedoms: UTF-8, no NaN, no infinities, no half surrogates, no repeated names."""
    try:
        value = from_json(body, allow_inf_nan=False)
        # A second reading sees what the first is silent about: repeated names, and numbers that overflow.
        json.loads(body.decode(), object_pairs_hook=_refuse_repeats, parse_float=_parse_finite)
    except (ValueError, RecursionError) as error:
        raise ValidationFailed(
            "The body is not valid JSON.",
            detail=f"body: {_short(str(error) or 'nested too deeply')}",
            solution="Send one JSON object in UTF-8, less than 200 levels deep, without NaN and repeated names.",
        ) from None
    return value


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"the name {_short(ascii(name))} appears twice in one object")
        seen.add(name)


def _parse_finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _check_content_type(content_type: str | None) -> None:
    media_type, _, parameters = (content_type or "").partition(";")
    charset = parameters.strip().lower()
    if media_type.strip().lower() == "application/json" and charset in ("", "charset=utf-8", 'charset="utf-8"'):
        return
    raise ValidationFailed(
        "The body must be JSON.",
        detail=f"Content-Type: {_short(ascii(content_type)) if content_type else 'is missing'}",
        solution="Send the header Content-Type: application/json.",
    )


def _check_length(content_length: str | None) -> None:
    # One that cannot be read says nothing: what comes is counted in any case.
    if _LENGTH.fullmatch(content_length or "") and int(content_length or "") > bounds.MAX_REQUEST_BYTES:
        raise _too_large()


def _too_large() -> BodyRefused:
    return BodyRefused(
        f"The body is larger than {bounds.MAX_REQUEST_BYTES} bytes.",
        detail=f"body: at most {bounds.MAX_REQUEST_BYTES} bytes are read",
        solution="Send less code, stdin, event or files.",
    )


def _explain(error: ValidationError) -> ValidationFailed:
    """All that is wrong, without quoting values: they may be secret."""
    found = error.errors(include_url=False, include_input=False)
    lines = [f"{_path(item['loc'])}: {_reason(dict(item))}" for item in found[:_MAX_SHOWN_ERRORS]]
    if len(found) > _MAX_SHOWN_ERRORS:
        lines.append(f"and {len(found) - _MAX_SHOWN_ERRORS} more")
    fields = dict.fromkeys(str(item["loc"][0]) for item in found)
    known = [_WRITE_INSTEAD[field] for field in fields if field in _WRITE_INSTEAD]
    if any(item["type"] == "extra_forbidden" for item in found):
        known.append(f"Leave unknown fields out; known ones are {', '.join(ExecutionRequest.model_fields)}.")
    first = _path(found[0]["loc"])
    return ValidationFailed(f"The field {first} is not valid.", "; ".join(lines), " ".join(known))


def _field_error(field: str, problem: str) -> ValidationFailed:
    return ValidationFailed(f"The field {field} is not valid.", f"{field}: {problem}", _WRITE_INSTEAD[field])


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(_short(str(part)) for part in location if part != "[key]")


def _reason(item: dict[str, Any]) -> str:
    if item["type"] == "missing":
        return "is missing"
    if item["type"] == "extra_forbidden":
        return "is not a field of this object"
    message: str = item["msg"]
    return message.removeprefix("Value error, ").replace("Input should", "should").replace("String should", "should")


def _short(text: str) -> str:
    printable = text.encode("ascii", "backslashreplace").decode()
    return printable if len(printable) <= _SHOWN_CHARS else printable[:_SHOWN_CHARS] + "..."


def _json_type(value: object) -> str:
    return {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")
