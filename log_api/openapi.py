"""The API in OpenAPI, which the API server merges into its own: version 2 whole, version 3 by group."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from log_api.group import GROUP, KIND, LOG_PATH, OUTPUTS_PATH, VERSION, VERSION_PATH

Object = dict[str, Any]

_INFO: Final = {"title": "sandbox-executor output", "version": VERSION}
_ANSWERS: Final = {"200": "OK", "401": "Unauthorized"}


@dataclass(frozen=True)
class _Operation:
    """A GET of one path: what it is called, the types of its answers, and its query (type, default, description)."""

    path: str
    name: str
    description: str
    types: tuple[str, ...]
    parameters: dict[str, tuple[str, object, str]]


_OPERATIONS: Final = (
    _Operation(
        path=LOG_PATH,
        name="readSubresourcesSandboxExecutorV1alpha1NamespacedExecutionLog",
        description="read what the specified Execution prints",
        types=("text/plain", "text/event-stream"),
        parameters={
            "follow": ("boolean", False, "Wait for more until the Execution has ended."),
            "stream": ("string", "all", "stdout, stderr, or all: both as they come."),
            "limitBytes": ("integer", None, "End after so many bytes of output."),
            "stdoutOffset": ("integer", 0, "Bytes of stdout that are known already, of the attempt."),
            "stderrOffset": ("integer", 0, "Bytes of stderr that are known already, of the attempt."),
            "attempt": ("integer", None, "The attempt that the offsets belong to; with another one they do not count."),
        },
    ),
    _Operation(
        path=OUTPUTS_PATH,
        name="readSubresourcesSandboxExecutorV1alpha1NamespacedExecutionOutputs",
        description="list what the specified Execution has in the object store, or read one of it",
        types=("application/json", "application/octet-stream"),
        parameters={
            "name": ("string", None, "The output to read, as in status.outputs; without it they are listed."),
            "offset": ("integer", 0, "Bytes of it that are known already."),
        },
    ),
)


def build_v2() -> Object:
    """``/openapi/v2``."""
    path = [{"name": name, "in": "path", "required": True, "type": "string"} for name in ("namespace", "name")]
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": {each.path: {"parameters": path, "get": _describe_v2(each)} for each in _OPERATIONS},
        "definitions": {},
    }


def build_v3() -> Object:
    """``/openapi/v3/apis/GROUP/VERSION``."""
    path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in ("namespace", "name")
    ]
    paths = {each.path: {"parameters": path, "get": _describe_v3(each)} for each in _OPERATIONS}
    return {"openapi": "3.0.0", "info": _INFO, "paths": paths}


def build_v3_index() -> Object:
    """``/openapi/v3``."""
    digest = hashlib.sha256(json.dumps(build_v3(), sort_keys=True).encode()).hexdigest()
    path = VERSION_PATH.removeprefix("/")
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}}}


def _describe_v2(operation: _Operation) -> Object:
    parameters = [
        {"name": name, "in": "query", "type": kind, "description": text, "uniqueItems": True, **_default(default)}
        for name, (kind, default, text) in operation.parameters.items()
    ]
    return {
        **_describe(operation),
        "produces": list(operation.types),
        "schemes": ["https"],
        "parameters": parameters,
        "responses": {
            code: {"description": text, **({"schema": {"type": "string"}} if code == "200" else {})}
            for code, text in _ANSWERS.items()
        },
    }


def _describe_v3(operation: _Operation) -> Object:
    parameters = [
        {"name": name, "in": "query", "description": text, "schema": {"type": kind, **_default(default)}}
        for name, (kind, default, text) in operation.parameters.items()
    ]
    content = {media_type: {"schema": {"type": "string"}} for media_type in operation.types}
    return {
        **_describe(operation),
        "parameters": parameters,
        "responses": {
            code: {"description": text, **({"content": content} if code == "200" else {})}
            for code, text in _ANSWERS.items()
        },
    }


def _describe(operation: _Operation) -> Object:
    return {
        "description": operation.description,
        "operationId": operation.name,
        "tags": ["subresourcesSandboxExecutor_v1alpha1"],
        "x-kubernetes-action": "get",
        "x-kubernetes-group-version-kind": {"group": GROUP, "kind": KIND, "version": VERSION},
    }


def _default(value: object) -> Object:
    return {} if value is None else {"default": value}
