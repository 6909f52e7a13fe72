"""Schemas made from OpenAPI and from CustomResourceDefinitions: strict, whole, and where kubeconform looks."""

from typing import Any

from devcluster.schemas import crd_schemas, kubernetes_schemas

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_PORT = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


def _kind(group: str, version: str, kind: str) -> dict[str, str]:
    return {"group": group, "version": version, "kind": kind}


DOCUMENT: dict[str, Any] = {
    "definitions": {
        _META: {"type": "object", "properties": {"name": {"type": "string"}, "labels": {"additionalProperties": {}}}},
        _PORT: {"type": "string", "format": "int-or-string"},
        _QUANTITY: {"type": "string"},
        "unused": {"type": "object"},
        "apps.v1.Thing": {
            "type": "object",
            "properties": {
                "metadata": {"$ref": f"#/definitions/{_META}"},
                "port": {"$ref": f"#/definitions/{_PORT}"},
                "parts": {"type": "array", "items": {"$ref": "#/definitions/apps.v1.Thing"}},
            },
            "x-kubernetes-group-version-kind": [_kind("apps", "v1", "Thing")],
        },
        "core.v1.Small": {
            "type": "object",
            "properties": {},
            "x-kubernetes-group-version-kind": [_kind("", "v1", "Small"), _kind("", "v1", "SmallList")],
        },
    }
}


def test_each_kind_lies_where_its_group_version_and_kind_say_and_lists_are_left_out() -> None:
    assert [name for name, _ in kubernetes_schemas(DOCUMENT)] == ["apps/thing_v1.json", "v1/small_v1.json"]


def test_a_schema_holds_what_it_refers_to_and_nothing_else() -> None:
    thing = dict(kubernetes_schemas(DOCUMENT))["apps/thing_v1.json"]
    assert set(thing["definitions"]) == {_META, _PORT, "apps.v1.Thing"}
    assert thing["definitions"][_PORT] == {"type": ["string", "integer"]}


def test_objects_take_only_their_fields_and_maps_any_key() -> None:
    thing = dict(kubernetes_schemas(DOCUMENT))["apps/thing_v1.json"]
    assert thing["additionalProperties"] is False
    meta = thing["definitions"][_META]
    assert meta["additionalProperties"] is False
    assert meta["properties"]["labels"] == {"additionalProperties": {}}


def test_a_custom_kind_is_strict_but_where_it_says_that_it_is_free() -> None:
    fields = {
        "size": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "free": {"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": True},
        "shut": {"type": "object", "properties": {"type": {"type": "string"}}},
    }
    root = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
    definition = {
        "spec": {
            "group": "example.dev",
            "names": {"kind": "Thing"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": root}}],
        }
    }
    ((name, schema),) = crd_schemas(definition)
    assert name == "example.dev/thing_v1.json"
    assert set(schema["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
    spec = schema["properties"]["spec"]
    assert spec["additionalProperties"] is False
    assert spec["properties"]["size"] == {"type": ["string", "integer"]}
    assert "additionalProperties" not in spec["properties"]["free"]
    assert spec["properties"]["shut"]["additionalProperties"] is False
