"""The CRDs in deploy/ are what the models make, and say what the models say."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts import crd
from contracts.execution import ExecutionSpec, ExecutionStatus
from contracts.pool import ExecutorPoolSpec

DEPLOY = Path(__file__).parents[3] / "deploy" / "crds"


def _spec_schema(definition: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def test_files_in_deploy_are_what_the_models_make() -> None:
    assert {path.name: path.read_text() for path in DEPLOY.glob("*.yaml")} == crd.manifests(), (
        "run `python -m contracts.crd deploy/crds`"
    )


@pytest.mark.parametrize("definition", [crd.execution_crd(), crd.pool_crd()], ids=["execution", "pool"])
def test_every_schema_node_is_structural(definition: dict[str, Any]) -> None:
    def check(node: dict[str, Any], where: str) -> None:
        assert not {"$ref", "anyOf", "oneOf", "allOf", "title", "const"} & node.keys(), where
        free = node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string")
        assert "type" in node or free, f"{where} has no type"
        for name, part in node.get("properties", {}).items():
            check(part, f"{where}.{name}")
        for key in ("items", "additionalProperties"):
            if key in node:
                check(node[key], f"{where}.{key}")

    check(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "$")


def test_every_spec_field_but_cancel_and_event_is_held_immutable_by_the_crd() -> None:
    rules = [rule["rule"] for rule in _spec_schema(crd.execution_crd())["x-kubernetes-validations"]]
    for field in ExecutionSpec.model_fields.values():
        held = any(f"self.{field.alias} == oldSelf.{field.alias}" in rule for rule in rules)
        assert held == (field.alias not in ("cancel", "event")), field.alias


def test_every_cel_rule_has_a_message() -> None:
    def rules(node: Any) -> list[dict[str, str]]:
        if isinstance(node, list):
            return [rule for part in node for rule in rules(part)]
        if not isinstance(node, dict):
            return []
        own = node.get("x-kubernetes-validations", [])
        return [
            *own,
            *(rule for key, part in node.items() if key != "x-kubernetes-validations" for rule in rules(part)),
        ]

    found = rules(yaml.safe_load("\n---\n".join(crd.manifests().values()).split("\n---\n")[0]))
    assert len(found) >= 6
    assert all(rule["message"] for rule in found)


@pytest.mark.parametrize(
    ("field", "minimum", "maximum"), [("timeoutSeconds", 1, 3600), ("maxRetries", 0, 10)], ids=["timeout", "retries"]
)
def test_bounds_of_the_models_stand_in_the_schema(field: str, minimum: int, maximum: int) -> None:
    schema = _spec_schema(crd.execution_crd())["properties"][field]
    assert (schema["minimum"], schema["maximum"]) == (minimum, maximum)


def test_status_and_scale_are_subresources_and_finished_ones_can_be_selected_out() -> None:
    execution = crd.execution_crd()["spec"]["versions"][0]
    pool = crd.pool_crd()["spec"]["versions"][0]
    assert execution["subresources"] == {"status": {}}
    assert pool["subresources"]["scale"]["labelSelectorPath"] == ".status.selector"
    assert {"jsonPath": ".status.phase"} in execution["selectableFields"]


def test_defaults_in_the_schema_are_the_models_defaults() -> None:
    properties = _spec_schema(crd.pool_crd())["properties"]
    assert properties["concurrency"]["default"] == ExecutorPoolSpec().concurrency
    assert properties["isolation"]["properties"]["mode"]["default"] == ExecutorPoolSpec().isolation.mode


def test_status_fields_of_the_model_are_all_in_the_schema() -> None:
    schema = crd.execution_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert set(schema["properties"]) == {field.alias for field in ExecutionStatus.model_fields.values()}
