"""What Chart.yaml tells Artifact Hub is what the chart holds and the models take."""

from typing import Any

import yaml

from contracts.crd import execution_crd, pool_crd
from contracts.execution import ExecutionSpec
from contracts.kube import KubeModel
from contracts.pool import ExecutorPoolSpec
from deploy.conformance import check
from tests.unit.chart.conftest import CHART, Render, Rendered

CHART_FILE: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
PREFIX = "artifacthub.io/"


def told(name: str) -> Any:
    return yaml.safe_load(CHART_FILE["annotations"][PREFIX + name])


def test_images_are_those_that_the_default_values_run(chart: Rendered) -> None:
    containers = [container for pod in chart.pods() for container in pod["spec"]["containers"]]
    assert {image["image"] for image in told("images")} == {container["image"] for container in containers}


def test_definitions_are_those_of_the_models() -> None:
    definitions = {
        (definition["spec"]["names"]["kind"], definition["metadata"]["name"]): definition["spec"]["versions"][0]
        for definition in (execution_crd(), pool_crd())
    }
    named = {(crd["kind"], crd["name"]): crd for crd in told("crds")}
    assert named.keys() == definitions.keys()
    for key, version in definitions.items():
        assert named[key]["version"] == version["name"]
        assert named[key]["description"] == version["schema"]["openAPIV3Schema"]["description"]


def test_there_is_a_working_example_of_each_kind() -> None:
    examples = told("crdsExamples")
    models: dict[str, type[KubeModel]] = {"Execution": ExecutionSpec, "ExecutorPool": ExecutorPoolSpec}
    assert [example["kind"] for example in examples] == list(models)
    for example in examples:
        models[example["kind"]].model_validate(example["spec"])
    check([yaml.safe_dump(example) for example in examples])


def test_changes_have_kinds_that_artifact_hub_knows() -> None:
    changes = told("changes")
    assert changes
    for change in changes:
        assert change["kind"] in {"added", "changed", "deprecated", "removed", "fixed", "security"}
        assert change["description"]
    assert told("category") == "security"


def test_every_object_is_labelled_with_chart_and_version(render: Render) -> None:
    want = f"{CHART_FILE['name']}-{CHART_FILE['version']}"
    for manifest in render("crds.keep=false", "executor.podDisruptionBudget.enabled=true").manifests:
        assert manifest["metadata"]["labels"]["helm.sh/chart"] == want
        assert manifest["metadata"]["labels"]["app.kubernetes.io/version"] == CHART_FILE["appVersion"]
