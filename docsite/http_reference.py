"""The reference page of the executor's HTTP API, made from its OpenAPI document."""

import json
from typing import Any, cast

from docsite.tables import Schema, code, describe_field, make_table
from executor_runtime.api import Api, build_app
from executor_runtime.metrics import Metrics
from executor_runtime.secret import Redactor, Token
from executor_runtime.service import Service

Document = dict[str, Any]


def read_document() -> Document:
    """What an executor with a token serves at ``/openapi.json``."""
    service = cast(Service, None)  # no route is called here: only what they say of themselves is read
    return build_app(Api(service, Metrics(), Token("not a secret", None, Redactor()), "full")).openapi()


def make_page(document: Document) -> str:
    """The page."""
    parts = [
        "# The executor's HTTP API",
        "",
        "<!-- Made by `make reference` from executor_runtime/openapi.py; a test compares. -->",
        "",
        "What each executor serves at `/openapi.json`, as a page. [The executor](../executor.md) says how it is used;",
        "in a cluster only the controller calls it. Where a token is set, every path but `/health` and `/metrics`",
        "asks for `Authorization: Bearer`.",
        "",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += _operation(f"{method.upper()} {path}", operation)
    parts += ["## Bodies", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts += _body(name, schema) if "properties" in schema else []
    return "\n".join(parts)


def _operation(title: str, operation: Document) -> list[str]:
    parts = [f"## {title}", "", f"{operation['summary']}.", ""]
    if parameters := operation.get("parameters"):
        parts += [make_table(["parameter", "in", "", "what"], map(_parameter, parameters))]
    if body := operation.get("requestBody"):
        content = body["content"]["application/json"]
        parts += [f"Body: {_type(content['schema'])}, for example", "", _json(content["example"])]
    answers = [_answer(status, answer) for status, answer in sorted(operation["responses"].items())]
    return [*parts, make_table(["status", "body", "for example"], answers)]


def _parameter(one: Document) -> list[str]:
    words = describe_field({"description": one["description"], **one["schema"]})
    return [f"`{one['name']}`", one["in"], "required" if one.get("required") else "", words]


def _answer(status: str, answer: Document) -> list[str]:
    (kind, content), *_ = answer["content"].items()
    example = content.get("example")
    body = _type(content["schema"]) if kind == "application/json" else f"`{kind}`"
    if isinstance(example, dict) and "error_code" in example:
        told = f"`{example['error_code']}`: {example['description']} {example['solution']}"
    else:
        told = answer["description"]
    return [status, body, told]


def _body(name: str, schema: Schema) -> list[str]:
    required = schema.get("required", ())
    rows = [
        [f"`{field}`", _type(part), _default(part, field in required), describe_field(_plain(part))]
        for field, part in schema["properties"].items()
    ]
    words = " ".join(str(schema.get("description", "")).replace("``", "`").split())
    return [f"### {name}", "", words, "", make_table(["field", "type", "default", "what"], rows)]


def _default(schema: Schema, required: bool) -> str:
    if required:
        return "required"
    return "" if schema.get("default") is None else code(schema["default"])


def _plain(schema: Schema) -> Schema:
    """An optional field with the bounds of what it is when it is there."""
    chosen: Schema = next((part for part in schema.get("anyOf", ()) if part.get("type") != "null"), {})
    return {**chosen, **schema}


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return "any JSON" if name == "JsonValue" else f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return str(schema.get("type", "any JSON"))


def _json(example: Any) -> str:
    return f"```json\n{json.dumps(example, indent=2)}\n```\n"
