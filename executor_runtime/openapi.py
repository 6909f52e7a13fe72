"""The OpenAPI document: what FastAPI finds in the routes, and what it cannot know.

Errors leave through ``middleware`` and bodies are read by hand (``request``), so both are described here, from the
same models, with an example of each. ``tests/contract`` holds the running service against the document.
"""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from contracts import bounds
from contracts.errors import ErrorBody, ErrorCode
from contracts.executor_api import (
    ATTEMPT_HEADER,
    EPOCH_HEADER,
    MAX_ATTEMPT,
    MAX_EPOCH,
    OWNER_HEADER,
    OWNER_PATTERN,
    RUN_HEADER,
    RUN_ID_PATTERN,
    ExecutionAccepted,
    ExecutionList,
    ExecutionMetrics,
    ExecutionRequest,
    ExecutionResult,
    ExecutionState,
    Health,
    Tombstone,
    Unhealthy,
)
from contracts.ids import EXECUTION_ID_EXAMPLE
from contracts.output_events import Chunk, End, Ending, Position, encode

PREFER_ASYNC: Final = "respond-async"

_RESULT: Final = ExecutionResult(
    execution_id=EXECUTION_ID_EXAMPLE,
    status="success",
    reason="Completed",
    message="the handler returned",
    stdout="seen world\n",
    exit_code=0,
    execution_time=0.026,
    return_value={"hello": "world"},
    metrics=ExecutionMetrics(duration_ms=26.1, cpu_time_ms=4.2, peak_memory_mb=9.1),
)
REQUEST_EXAMPLE: Final[Mapping[str, Any]] = {
    "code": "def handler(event):\n    print('seen', event['name'])\n    return {'hello': event['name']}\n",
    "language": "python",
    "execution_id": EXECUTION_ID_EXAMPLE,
    "timeout": 30,
    "event": {"name": "world"},
}
_HEALTHY: Final = Health(version="0.1.0", uptime_seconds=12.5, active_executions=1, isolation="full", run_id=32 * "a")
_ENDED: Final = ExecutionState(execution_id=EXECUTION_ID_EXAMPLE, state="ended", result=_RESULT)
_EVENTS: Final = (
    Chunk("stdout", b"seen world\n", Position(11, 0)),
    End(Ending(phase="Succeeded", reason="Completed", exit_code=0, stdout_bytes=11, stderr_bytes=0), Position(11, 0)),
)
_TEXT_BOUNDS: Final[Mapping[str, Mapping[str, Any]]] = {
    # Bounds are in bytes, which JSON schema cannot say; no text of more characters has as few bytes.
    "code": {"maxLength": bounds.MAX_CODE_BYTES},
    "stdin": {"maxLength": bounds.MAX_STDIN_BYTES},
    "report_token": {"minLength": 1, "maxLength": 4096, "pattern": "^[!-~]+$"},
}
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer", "minimum": 1}}
}


def _describe_answer(example: BaseModel, description: str, **more: Any) -> dict[str, Any]:
    content = {"application/json": {"example": example.model_dump(mode="json")}}
    return {"model": type(example), "description": description, "content": content, **more}


def _describe_error(code: ErrorCode, description: str, detail: str, solution: str, **more: Any) -> dict[str, Any]:
    example = ErrorBody(
        error_code=code, description=description, error_detail=detail, solution=solution, request_id="trace-1"
    )
    return _describe_answer(example, description, **more)


def _query(name: str, words: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": words, "schema": schema}


INVALID: Final = _describe_error(
    ErrorCode.VALIDATION,
    "The field timeout is not valid.",
    "timeout: should be less than or equal to 3600",
    "Write a whole number of seconds from 1 to 3600, or leave it out for 30.",
)
UNAUTHORIZED: Final = _describe_error(
    ErrorCode.UNAUTHORIZED, "This request is not authorized.", "", "Send Authorization: Bearer and the token."
)
NOT_FOUND: Final = _describe_error(
    ErrorCode.NOT_FOUND,
    "No such execution on this executor.",
    "",
    "Check the id; executions are forgotten when the executor restarts.",
)
CONFLICT: Final = _describe_error(
    ErrorCode.CONFLICT,
    "This execution_id was used for a different request.",
    f"execution_id: {EXECUTION_ID_EXAMPLE}",
    "Use a new execution_id, or send exactly the same request to join its run.",
)
BAD_ID: Final = _describe_error(
    ErrorCode.VALIDATION,
    "This is no execution id.",
    "execution_id: must match ^exec_[0-9]{8}_[a-z0-9]{8}$",
    f"Write exec_, the date as eight digits, _, and eight of a-z or 0-9: {EXECUTION_ID_EXAMPLE}.",
)
BAD_HEADER: Final = _describe_error(
    ErrorCode.VALIDATION,
    f"The header {EPOCH_HEADER} is not valid.",
    f"{EPOCH_HEADER}: must be a whole number from 1 to {MAX_EPOCH}",
    "Leave it out: only the operator's controller sends it.",
)
FENCED: Final = _describe_error(
    ErrorCode.STALE_EPOCH,
    "A newer leader has spoken to this executor.",
    f"{EPOCH_HEADER}: 7 is older than 8",
    "Look up who leads; only the leader's requests are taken.",
)
BAD_OFFSET: Final = _describe_error(
    ErrorCode.VALIDATION,
    "The parameter stdout is not valid.",
    "stdout: 12 is beyond the 7 bytes that were written so far",
    "Write how many bytes of it you have; another attempt begins again at 0.",
)
TOO_MANY_READERS: Final = _describe_error(
    ErrorCode.TOO_MANY_READERS,
    "As many clients follow output here as may.",
    "8 of 8 follow this execution, 9 of 64 this executor",
    "Send the request again when one of them has ended.",
    headers=_RETRY_AFTER,
)
FULL: Final = _describe_error(
    ErrorCode.QUEUE_FULL,
    "All 2 slots are busy and 10 executions wait already.",
    "",
    "Send the request again after the seconds that Retry-After names, or use another executor.",
    headers=_RETRY_AFTER,
)
BROKEN: Final = _describe_error(
    ErrorCode.INTERNAL, "The executor failed.", "", "Send the request_id to whoever runs this executor."
)
RESULT: Final = _describe_answer(_RESULT, "It has ended.")
ACCEPTED: Final = _describe_answer(
    ExecutionAccepted(execution_id=EXECUTION_ID_EXAMPLE, status="running", message="Accepted; it is running."),
    "It is accepted (Prefer: respond-async).",
)
STATE: Final = _describe_answer(_ENDED, "Where it is, and its result once it has ended.")
TOMBSTONE: Final = _describe_answer(
    Tombstone(execution_id=EXECUTION_ID_EXAMPLE), "It is unknown here; requests under this id are refused from now on."
)
LIST: Final = _describe_answer(
    ExecutionList(executions=[_ENDED.model_copy(update={"result": None})]), "Without their results."
)
HEALTH: Final = _describe_answer(_HEALTHY, "It takes work.")
UNHEALTHY: Final = _describe_answer(Unhealthy(reason="terminating"), "It takes no work.")
ARTIFACT: Final = {
    "description": "The bytes, whatever they are.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
OUTPUT: Final = {
    "description": "Events stdout and stderr (base64 of what was written), gap (bytes that are no longer held) and, at "
    "last, end; pause where the client does not follow. The id of each is the offsets to go on from.",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "description": "Each event.",
                "properties": {
                    "id": {"type": "string", "pattern": r"^\d{1,18}-\d{1,18}$"},
                    "event": {"enum": ["stdout", "stderr", "gap", "pause", "end"]},
                    "data": {"type": "string"},
                },
                "required": ["id", "event", "data"],
                "additionalProperties": False,
            },
            "example": "".join(encode(event).decode() for event in _EVENTS),
        }
    },
}
_OFFSET: Final = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1, "default": 0}
OUTPUT_PARAMETERS: Final = [
    _query("stdout", "Bytes of stdout that the client has: it begins with the next one.", _OFFSET),
    _query("stderr", "The same of stderr.", _OFFSET),
    _query("follow", "false: what there is now, then end or pause.", {"type": "boolean", "default": True}),
    _query(
        "attempt",
        "That attempt only, else 404.",
        {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPT},
    ),
    _query(
        "owner",
        "Only if it was sent with this X-Execution-Owner, else 404.",
        {"type": "string", "pattern": OWNER_PATTERN},
    ),
]
METRICS: Final = {
    "description": "Prometheus text format 0.0.4.",
    "content": {"text/plain": {"schema": {"type": "string"}, "example": "sandbox_executor_active_executions 0.0\n"}},
}


def build_document(app: FastAPI, token_required: bool) -> dict[str, Any]:
    """The OpenAPI document of an executor's application."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    _add_request_body(document)
    _drop_framework_errors(document)
    for name, operations in document["paths"].items():
        for operation in operations.values():
            _give_example_id(operation)
            if "412" in operation["responses"]:
                operation.setdefault("parameters", []).extend(_fencing_headers(name == "/execute"))
            if token_required and name not in ("/health", "/metrics"):
                operation["security"] = [{"bearer": []}]
    if token_required:
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return document


def _add_request_body(document: dict[str, Any]) -> None:
    schema = ExecutionRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema["properties"]["env_vars"]["additionalProperties"] = False  # names that the pattern does not match
    for name, bounds_of_text in _TEXT_BOUNDS.items():
        _bound_text(schema["properties"][name], bounds_of_text)
    schemas = document["components"]["schemas"]
    schemas.update(schema.pop("$defs", {}))
    schemas["ExecutionRequest"] = schema
    operation = document["paths"]["/execute"]["post"]
    body = {"schema": {"$ref": "#/components/schemas/ExecutionRequest"}, "example": REQUEST_EXAMPLE}
    operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    prefer = {"type": "string", "example": PREFER_ASYNC}
    words = f"{PREFER_ASYNC}: answers 202 at once."
    operation["parameters"] = [
        {"name": "Prefer", "in": "header", "required": False, "description": words, "schema": prefer}
    ]


def _fencing_headers(begins: bool) -> list[dict[str, Any]]:
    """All of them where something begins. Elsewhere the summary names the attempt: with two optional headers and no
    body schemathesis invents a third, and wants that refused."""
    epoch = _number(MAX_EPOCH)
    found = [_header(EPOCH_HEADER, "Which leader asks: a smaller number than before is refused.", epoch)]
    if begins:
        run = {"type": "string", "pattern": RUN_ID_PATTERN}
        found.append(_header(RUN_HEADER, "Which run of the executor is meant: another one refuses it.", run))
        attempt = _number(MAX_ATTEMPT)
        found.append(_header(ATTEMPT_HEADER, "Which attempt is meant; a later one is another run.", attempt))
        owner = {"type": "string", "pattern": OWNER_PATTERN}
        found.append(_header(OWNER_HEADER, "Whose output it will be: the uid of the Execution.", owner))
    return found


def _number(largest: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": largest}


def _header(name: str, words: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": words, "schema": schema}


def _bound_text(schema: dict[str, Any], bounds_of_text: Mapping[str, Any]) -> None:
    for choice in schema.get("anyOf", [schema]):
        if choice.get("type") == "string":
            choice.update(bounds_of_text)


def _drop_framework_errors(document: dict[str, Any]) -> None:
    """FastAPI describes a 422 of its own; here every refusal is a 400 in the form of ``ErrorBody``."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _give_example_id(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "execution_id":
            parameter.update(description="The id that it was sent with.", example=EXECUTION_ID_EXAMPLE)
        elif parameter["name"] == "path":
            parameter.update(description="Relative to the workspace.", example="out/report.csv")
