"""The API in OpenAPI, which the API server merges into its own: version 2 whole, version 3 by group."""

import hashlib
import json
from typing import Any, Final

from log_api.group import GROUP, KIND, LOG_PATH, VERSION, VERSION_PATH

Object = dict[str, Any]

_INFO: Final = {"title": "sandbox-executor output", "version": VERSION}
_TYPES: Final = ["text/plain", "text/event-stream"]
_DESCRIPTION: Final = "read what the specified Execution prints"
_ANSWERS: Final = {"200": "OK", "401": "Unauthorized"}
_PARAMETERS: Final[dict[str, tuple[str, object, str]]] = {
    "follow": ("boolean", False, "Wait for more until the Execution has ended."),
    "stream": ("string", "all", "stdout, stderr, or all: both as they come."),
    "limitBytes": ("integer", None, "End after so many bytes of output."),
    "stdoutOffset": ("integer", 0, "Bytes of stdout that are known already, of the attempt."),
    "stderrOffset": ("integer", 0, "Bytes of stderr that are known already, of the attempt."),
    "attempt": ("integer", None, "The attempt that the offsets belong to; with another one they do not count."),
}


def build_v2() -> Object:
    """``/openapi/v2``."""
    parameters = [
        {"name": name, "in": "query", "type": kind, "description": text, "uniqueItems": True, **_default(default)}
        for name, (kind, default, text) in _PARAMETERS.items()
    ]
    path = [{"name": name, "in": "path", "required": True, "type": "string"} for name in ("namespace", "name")]
    operation = {
        **_operation(),
        "produces": _TYPES,
        "schemes": ["https"],
        "parameters": parameters,
        "responses": {
            code: {"description": text, **({"schema": {"type": "string"}} if code == "200" else {})}
            for code, text in _ANSWERS.items()
        },
    }
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": {LOG_PATH: {"parameters": path, "get": operation}},
        "definitions": {},
    }


def build_v3() -> Object:
    """``/openapi/v3/apis/GROUP/VERSION``."""
    parameters = [
        {"name": name, "in": "query", "description": text, "schema": {"type": kind, **_default(default)}}
        for name, (kind, default, text) in _PARAMETERS.items()
    ]
    path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in ("namespace", "name")
    ]
    content = {media_type: {"schema": {"type": "string"}} for media_type in _TYPES}
    operation = {
        **_operation(),
        "parameters": parameters,
        "responses": {
            code: {"description": text, **({"content": content} if code == "200" else {})}
            for code, text in _ANSWERS.items()
        },
    }
    return {"openapi": "3.0.0", "info": _INFO, "paths": {LOG_PATH: {"parameters": path, "get": operation}}}


def build_v3_index() -> Object:
    """``/openapi/v3``."""
    digest = hashlib.sha256(json.dumps(build_v3(), sort_keys=True).encode()).hexdigest()
    path = VERSION_PATH.removeprefix("/")
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}}}


def _operation() -> Object:
    return {
        "description": _DESCRIPTION,
        "operationId": "readSubresourcesSandboxExecutorV1alpha1NamespacedExecutionLog",
        "tags": ["subresourcesSandboxExecutor_v1alpha1"],
        "x-kubernetes-action": "get",
        "x-kubernetes-group-version-kind": {"group": GROUP, "kind": KIND, "version": VERSION},
    }


def _default(value: object) -> Object:
    return {} if value is None else {"default": value}
