"""Makes the CustomResourceDefinitions in ``deploy/crds/`` from the models.

``python -m contracts.crd DIRECTORY`` writes them; a test fails when the files are not
what this module makes. Kubernetes wants structural schemas: no ``$ref``, no ``anyOf``
for an optional field, no titles (KEP-1979 and the API conventions).
"""

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from contracts.execution import ExecutionSpec, ExecutionStatus, spec_rules
from contracts.kube import EXECUTION_KIND, EXECUTION_PLURAL, GROUP, POOL_KIND, POOL_PLURAL, VERSION
from contracts.pool import ExecutorPoolSpec, ExecutorPoolStatus

Schema = dict[str, Any]

_COPIED: Final = frozenset(
    {"default", "description", "enum", "format", "maxItems", "maxLength", "maxProperties", "maximum", "minItems"}
    | {"minLength", "minimum", "nullable", "pattern", "required", "type"}
)
_SELECTABLE: Final = (".status.phase", ".status.executionId", ".spec.executionId", ".spec.pool", ".spec.sessionId")
"""What a watch can be narrowed by on the server, finished ones above all (KEP-4358)."""
_HEADER: Final = "# Made by `python -m contracts.crd`; change the models in contracts/ instead.\n"


def structural(schema: Schema, definitions: Schema) -> Schema:
    """A pydantic JSON schema as a Kubernetes structural schema."""
    schema = _resolved(schema, definitions)
    # Copies: what two fields share would be written as an anchor and an alias.
    out = {key: deepcopy(value) for key, value in schema.items() if key in _COPIED or key.startswith("x-kubernetes-")}
    if "const" in schema:
        out["enum"] = [schema["const"]]
    if "properties" in schema:
        out["properties"] = {name: structural(part, definitions) for name, part in schema["properties"].items()}
    elif isinstance(schema.get("additionalProperties"), dict) and _FREE not in schema:
        out["additionalProperties"] = structural(schema["additionalProperties"], definitions)
    if "items" in schema:
        out["items"] = structural(schema["items"], definitions)
    if "x-kubernetes-int-or-string" in out:
        out.pop("type", None)
    if out.get("type") == "integer":
        out["format"] = "int64"
    if out.get("default", ...) is None:
        del out["default"]
    return out


_FREE: Final = "x-kubernetes-preserve-unknown-fields"


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Follows ``$ref`` and takes the one alternative of an optional field that is not null."""
    while True:
        own = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf", "allOf")}
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            target = {} if name == "JsonValue" else definitions[name]
        elif "anyOf" in schema:
            kinds = [part for part in schema["anyOf"] if part.get("type") != "null"]
            target = kinds[0] if len(kinds) == 1 else {}
        else:
            return schema
        schema = {**target, **own}


def _properties(model: type[BaseModel]) -> Schema:
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return structural(schema, schema.get("$defs", {}))


def _root(spec: Schema, status: type[BaseModel], description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _properties(status),
        },
    }


def _column(name: str, kind: str, path: str, wide: bool = False, description: str = "") -> Schema:
    column: Schema = {"name": name, "type": kind, "jsonPath": path}
    if wide:
        column["priority"] = 1
    if description:
        column["description"] = description
    return column


def _definition(names: Schema, scope: str, version: Schema) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": scope,
            "versions": [{"name": VERSION, "served": True, "storage": True, **version}],
        },
    }


def execution_crd() -> Schema:
    """The CustomResourceDefinition of ``Execution``."""
    spec = {**_properties(ExecutionSpec), **spec_rules()}
    return _definition(
        {
            "kind": EXECUTION_KIND,
            "listKind": f"{EXECUTION_KIND}List",
            "plural": EXECUTION_PLURAL,
            "singular": EXECUTION_KIND.lower(),
            "shortNames": ["exn"],
            "categories": ["sandbox"],
        },
        "Namespaced",
        {
            "schema": {"openAPIV3Schema": _root(spec, ExecutionStatus, "One run of untrusted code in a sandbox.")},
            "subresources": {"status": {}},
            "selectableFields": [{"jsonPath": path} for path in _SELECTABLE],
            "additionalPrinterColumns": [
                _column("Phase", "string", ".status.phase"),
                _column("Reason", "string", ".status.conditions[?(@.type=='Finished')].reason"),
                _column("Pool", "string", ".spec.pool"),
                _column("Exit", "integer", ".status.exitCode", description="Exit code of the code."),
                _column("Duration", "string", ".status.duration"),
                _column("Age", "date", ".metadata.creationTimestamp"),
                _column("Pod", "string", ".status.podName", wide=True),
                _column("Reported", "string", ".status.conditions[?(@.type=='Reported')].reason", wide=True),
                _column("Execution-ID", "string", ".status.executionId", wide=True),
            ],
        },
    )


def pool_crd() -> Schema:
    """The CustomResourceDefinition of ``ExecutorPool``."""
    return _definition(
        {
            "kind": POOL_KIND,
            "listKind": f"{POOL_KIND}List",
            "plural": POOL_PLURAL,
            "singular": POOL_KIND.lower(),
            "shortNames": ["epool"],
            "categories": ["sandbox"],
        },
        "Cluster",
        {
            "schema": {
                "openAPIV3Schema": _root(
                    _properties(ExecutorPoolSpec), ExecutorPoolStatus, "Warm executor pods that run Executions."
                )
            },
            "subresources": {
                "status": {},
                "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                },
            },
            "additionalPrinterColumns": [
                _column("Ready", "integer", ".status.readyReplicas"),
                _column("Replicas", "integer", ".spec.replicas"),
                _column("Busy", "integer", ".status.busySlots", description="Slots that run an Execution."),
                _column("Free", "integer", ".status.freeSlots"),
                _column("Queued", "integer", ".status.queued"),
                _column("Available", "string", ".status.conditions[?(@.type=='Available')].status"),
                _column("Age", "date", ".metadata.creationTimestamp"),
                _column("Isolation", "string", ".status.isolation", wide=True),
            ],
        },
    )


def manifests() -> dict[str, str]:
    """File name → YAML of each CustomResourceDefinition."""
    return {
        f"{crd['metadata']['name']}.yaml": _HEADER + yaml.safe_dump(crd, sort_keys=False, width=120)
        for crd in (execution_crd(), pool_crd())
    }


def main() -> None:
    """Writes the manifests into the directory that is named, ``deploy/crds`` by default."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "deploy/crds")
    for name, text in manifests().items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    main()
