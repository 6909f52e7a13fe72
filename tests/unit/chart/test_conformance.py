"""What the chart renders is what the API server takes, by kubeconform; and kubeconform would say so if it were not."""

import re

import pytest
import yaml

from deploy.conformance import CHART, NotConformant, check, render, value_files
from tests.unit.chart.conftest import Rendered

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}},
    },
}
POOL = {"apiVersion": "sandbox-executor.dev/v1alpha1", "kind": "ExecutorPool", "metadata": {"name": "a"}}


def test_all_sets_of_values_render_what_the_api_server_takes() -> None:
    summary = check([render(), *(render(values) for values in value_files())])
    valid = re.search(r"Valid: (\d+), Invalid: 0, Errors: 0, Skipped: 0", summary)
    assert valid is not None, summary
    assert int(valid[1]) > 80


def test_the_sets_render_every_template(chart: Rendered) -> None:
    text = "".join([render(), *(render(values) for values in value_files())])
    rendered = set(re.findall(r"^# Source: sandbox-executor/templates/(.+)$", text, re.MULTILINE))
    templates = {path.name for path in (CHART / "templates").glob("*.yaml")}
    assert templates - rendered == {"checks.yaml"}, "which renders nothing"


def test_the_sets_are_not_in_a_packaged_chart() -> None:
    assert "ci/" in (CHART / ".helmignore").read_text().splitlines()


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        pytest.param({**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replica": 2}}, "replica", id="unknown-field"),  # type: ignore[dict-item]
        pytest.param({**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicas": "two"}}, "replicas", id="wrong-type"),  # type: ignore[dict-item]
        pytest.param({**DEPLOYMENT, "metadata": {"name": "a", "label": {}}}, "label", id="unknown-metadata"),
        pytest.param({**POOL, "spec": {"replica": 2}}, "replica", id="our-own-kind"),
        pytest.param({**POOL, "spec": {"concurrency": 1000}}, "concurrency", id="our-own-bound"),
        pytest.param({**DEPLOYMENT, "apiVersion": "apps/v2"}, "could not find schema", id="unknown-kind"),
    ],
)
def test_what_the_api_server_would_refuse_or_drop_is_found(manifest: dict[str, object], message: str) -> None:
    check([yaml.safe_dump(DEPLOYMENT), yaml.safe_dump({**POOL, "spec": {"replicas": 2}})])
    with pytest.raises(NotConformant, match=message):
        check([yaml.safe_dump(manifest)])
