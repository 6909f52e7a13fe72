"""JSON schemas for kubeconform, of the very versions that are pinned here: no site is asked for any.

Kubernetes' own come from the OpenAPI document in its Go module, those of the Prometheus operator's kinds from the
CustomResourceDefinitions in its module. Objects are strict: a field that a kind does not have is refused. The files
lie as ``LOCATION`` says; ``kubeconform -schema-location FOLDER/LOCATION`` finds them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from devcluster import versions
from devcluster.cache import digest
from devcluster.gobuild import GoBuilder

LOCATION = "{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"
"""kubeconform's own words. The group is whole, and the version itself for the core group; the kind is in lower case."""

Schema = dict[str, Any]

_REFERENCE = "#/definitions/"
_GROUPS = "x-kubernetes-group-version-kind"
_SEVERAL = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": ["string", "integer"],
    "io.k8s.apimachinery.pkg.api.resource.Quantity": ["string", "number"],
}
"""What OpenAPI v2 has no words for."""
_OF_NOBODY = ("List", "Options", "Status", "Event", "Scale")
"""Kinds with these ends are not in manifests, or are in every group."""
_MONITORING = ("podmonitors", "prometheusrules", "servicemonitors")
"""What the chart makes of the Prometheus operator's kinds."""


def provide(builder: GoBuilder) -> Path:
    """The folder of all schemas, made once for each pair of versions (5 s)."""
    key = digest(versions.KUBERNETES, versions.PROMETHEUS_OPERATOR, Path(__file__).read_text())
    return builder.cache.get("kube-schemas", key, lambda out: _make(builder, out))


def _make(builder: GoBuilder, out: Path) -> None:
    document = builder.module_folder("k8s.io/kubernetes", versions.KUBERNETES) / "api/openapi-spec/swagger.json"
    write(out, kubernetes_schemas(json.loads(document.read_text())))
    module = builder.module_folder("github.com/prometheus-operator/prometheus-operator", versions.PROMETHEUS_OPERATOR)
    for kinds in _MONITORING:
        file = module / f"example/prometheus-operator-crd/monitoring.coreos.com_{kinds}.yaml"
        write(out, crd_schemas(yaml.safe_load(file.read_text())))


def write(folder: Path, schemas: Iterable[tuple[str, Schema]]) -> None:
    """Each schema into its file below the folder."""
    for name, schema in schemas:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(schema))


def kubernetes_schemas(document: Schema) -> Iterator[tuple[str, Schema]]:
    """File name and schema of every kind in Kubernetes' OpenAPI document (version 2)."""
    definitions = {name: _strict(name, schema) for name, schema in document["definitions"].items()}
    for name, schema in document["definitions"].items():
        for kind in schema.get(_GROUPS, ()):
            if not kind["kind"].endswith(_OF_NOBODY):
                needed = {each: definitions[each] for each in sorted(_closure(name, definitions))}
                yield _file(kind["group"], kind["version"], kind["kind"]), _whole(definitions[name], needed)


def crd_schemas(definition: Schema) -> Iterator[tuple[str, Schema]]:
    """The same for each version of a CustomResourceDefinition."""
    spec = definition["spec"]
    for version in spec["versions"]:
        schema = _strict_custom(version["schema"]["openAPIV3Schema"])
        schema["properties"] = {"apiVersion": {}, "kind": {}, **schema["properties"], "metadata": {"type": "object"}}
        yield _file(spec["group"], version["name"], spec["names"]["kind"]), _whole(schema, {})


def _file(group: str, version: str, kind: str) -> str:
    return f"{group or version}/{kind.lower()}_{version}.json"


def _whole(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "definitions": definitions}


def _strict(name: str, schema: Schema) -> Schema:
    if name in _SEVERAL:
        return {"type": _SEVERAL[name]}
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return {**closed, **schema}


def _strict_custom(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict_custom(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict_custom(part) for key, part in schema.items() if not key.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        made = {key: part for key, part in made.items() if key != "anyOf"} | {"type": ["string", "integer"]}
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not free:
        made.setdefault("additionalProperties", False)
    return made


def _closure(name: str, definitions: dict[str, Schema]) -> set[str]:
    """Names of all definitions that this one refers to, itself among them where it does so."""
    found: set[str] = set()
    left = [name]
    while left:
        new = {each for each in _references(definitions[left.pop()]) if each not in found}
        found |= new
        left += new
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)
    elif isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.removeprefix(_REFERENCE)
        for part in schema.values():
            yield from _references(part)
