"""Rights of a Control Plane that creates Executions through the Kubernetes API."""

import subprocess

import pytest

from tests.unit.chart.conftest import Render, RunHelm

NAME = "sandbox-executor-control-plane"
SUBJECTS = 'rbac.controlPlane.subjects=[{"kind":"ServiceAccount","name":"cp","namespace":"agents"}]'


def test_nobody_gets_rights_unless_named(render: Render) -> None:
    names = [found["metadata"]["name"] for found in render().all("ClusterRole")]
    assert NAME not in names


def test_a_control_plane_may_use_executions_and_nothing_else(render: Render) -> None:
    chart = render(SUBJECTS)
    (rule,) = chart.one("ClusterRole", NAME)["rules"]
    assert rule == {
        "apiGroups": ["sandbox-executor.dev"],
        "resources": ["executions"],
        "verbs": ["create", "get", "list", "watch", "patch", "delete"],
    }
    binding = chart.one("ClusterRoleBinding", NAME)
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "cp", "namespace": "agents"}]
    assert binding["roleRef"]["name"] == NAME


def test_in_named_namespaces_only(render: Render) -> None:
    chart = render(SUBJECTS, 'rbac.controlPlane.namespaces=["tenant-a","tenant-b"]')
    bound = [found for found in chart.all("RoleBinding") if found["metadata"]["name"] == NAME]
    assert [found["metadata"]["namespace"] for found in bound] == ["tenant-a", "tenant-b"]
    assert NAME not in [found["metadata"]["name"] for found in chart.all("ClusterRoleBinding")]


@pytest.mark.parametrize("subjects", ['[{"kind":"Pod","name":"x"}]', '[{"name":"x"}]', '"cp"'])
def test_a_wrong_subject_is_refused(run_helm: RunHelm, subjects: str) -> None:
    ended: subprocess.CompletedProcess[str] = run_helm(
        "template", "x", "deploy/helm/sandbox-executor", "--set-json", f"rbac.controlPlane.subjects={subjects}"
    )
    assert ended.returncode != 0
    assert "subjects" in ended.stderr
