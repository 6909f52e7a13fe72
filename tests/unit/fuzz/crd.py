"""Objects that the API server would take, generated from the CustomResourceDefinition itself."""

import re
from typing import Any

from hypothesis import strategies as st

from contracts.crd import execution_crd
from controller.storable import can_store
from tests.unit.fuzz.strategies import json_values, mostly, plain_text

Schema = dict[str, Any]
_SMALL = 6
"""Of lists and maps; what a bound allows beyond it is more of the same."""
_QUANTITIES = ["0", "1", "16Mi", "1Gi", "999999999999999Ti", "15k", "000000000000001"]
"""What ``ByteQuantity``'s CEL rule takes, which is not part of the schema's bounds."""
_IDS = ["exec_20260115_a1b2c3d4", "exec_00000000_00000000"]
"""The same for ``executionId``."""


def objects_of(schema: Schema) -> st.SearchStrategy[Any]:
    """Values within a structural schema's bounds (KEP-1979); what only CEL says is left to the caller."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "properties" in schema:
        return _objects_with(schema)
    rules = str(schema.get("x-kubernetes-validations", ""))
    match schema.get("type"):
        case "string" if "a whole number of bytes" in rules:
            return st.sampled_from(_QUANTITIES)
        case "string" if "executionId" in rules:
            return st.sampled_from(_IDS)
        case "string":
            return _strings(schema)
        case "integer":
            low, high = schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1)
            return st.sampled_from([low, high]) | st.integers(low, high)
        case "number":
            return st.floats(schema.get("minimum"), allow_nan=False, allow_infinity=False) | st.integers(0, 9)
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(objects_of(schema["items"]), max_size=min(schema.get("maxItems", _SMALL), _SMALL))
    free = json_values().filter(_is_storable)
    if schema.get("type") == "object":
        return st.dictionaries(plain_text, free, max_size=3)
    return free


def _objects_with(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    parts = {name: objects_of(part) for name, part in schema["properties"].items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: part for name, part in parts.items() if name in required},
        optional={name: part for name, part in parts.items() if name not in required},
    )


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.datetimes(timezones=st.just(None)).map(lambda time: f"{max(time.year, 1000)}-01-02T03:04:05Z") | (
            st.sampled_from(["2026-01-15T12:00:00.123456789Z", "2026-01-15T12:00:00+01:00", "2026-01-15t12:00:00z"])
        )
    low, high = schema.get("minLength", 0), schema.get("maxLength", 2**20)
    if "pattern" not in schema:
        return plain_text.map(lambda text: text[:high]).filter(lambda text: len(text) >= low)
    pattern = re.compile(schema["pattern"], re.ASCII)
    longest = re.sub(r"[^a-z]", "", "abc") * high
    fitting = st.from_regex(pattern, fullmatch=True).filter(lambda text: low <= len(text) <= high)
    return mostly(fitting, st.just(longest[:high])).filter(lambda text: pattern.fullmatch(text) is not None)


def _is_storable(value: Any) -> bool:
    """The API server's own reader refuses NaN, and what is no double."""
    return can_store(value)


_SCHEMA: Schema = execution_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
_labels = st.dictionaries(
    st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5})?/[a-z]{1,60}", fullmatch=True), st.just("x" * 63), max_size=3
)
_annotations = st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), plain_text, max_size=3)
_dns = st.from_regex(re.compile(r"[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?", re.ASCII), fullmatch=True) | st.just("x" * 253)
metadata = st.fixed_dictionaries(
    {
        "name": _dns,
        "namespace": st.just("tenant") | st.just("n" * 63),
        "uid": st.uuids().map(str),
        "resourceVersion": st.integers(1, 2**63).map(str),
        "generation": st.integers(1, 2**63 - 1),
        "creationTimestamp": st.sampled_from(["2026-01-15T12:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]),
    },
    optional={
        "labels": _labels,
        "annotations": _annotations,
        "finalizers": st.lists(_dns, max_size=2),
        "deletionTimestamp": st.just("2026-01-15T12:00:00Z"),
        "deletionGracePeriodSeconds": st.integers(0, 2**31),
        "generateName": plain_text,
        "ownerReferences": st.lists(st.fixed_dictionaries({"name": plain_text, "uid": plain_text}), max_size=2),
        "managedFields": st.lists(json_values(), max_size=2),
    },
)


def _one_code(spec: dict[str, Any]) -> dict[str, Any]:
    """As the CEL rules over the whole spec want it: one source of code, one for each variable and file, distinct
    names."""
    if "codeFrom" in spec:
        spec = {name: value for name, value in spec.items() if name != "code"}
    elif "code" not in spec:
        spec = {**spec, "code": "x"}
    env = {variable["name"]: variable for variable in spec.get("env", ())}
    for variable in env.values():
        if "value" in variable and "valueFrom" in variable:
            del variable["value"]
    lists = {"env": list(env.values()), "files": [_one_content(*item) for item in enumerate(spec.get("files", ()))]}
    return {**spec, **{name: value for name, value in lists.items() if name in spec}}


def _one_content(number: int, file: dict[str, Any]) -> dict[str, Any]:
    """A path of its own that the rules take, made of what was drawn, and the first of the contents."""
    name = re.sub(r"[\x00-\x1f\x7f/]", "_", file["path"])[:40]
    contents = [(key, value) for key, value in file.items() if key != "path"] or [("inline", "x")]
    return {"path": f"{number}/{name}x", contents[0][0]: contents[0][1]}


specs = objects_of(_SCHEMA["properties"]["spec"]).map(_one_code)
statuses: st.SearchStrategy[dict[str, Any]] = st.just({}) | objects_of(_SCHEMA["properties"]["status"])
executions = st.fixed_dictionaries(
    {
        "apiVersion": st.just("sandbox-executor.dev/v1alpha1"),
        "kind": st.just("Execution"),
        "metadata": metadata,
        "spec": specs,
    },
    optional={"status": statuses},
)
"""Bodies of Executions as a watch hands them out. Only the controller writes a status, an older one perhaps."""
