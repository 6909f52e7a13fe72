"""What the Jobs for CustomResourceDefinitions may do, and when; tests/integration/chart has them do it."""

import pytest

from contracts.crd import execution_crd, pool_crd
from controller import crds
from tests.unit.chart.conftest import NAMESPACE, Manifest, Render, Rendered

UPGRADE, REMOVAL = "sandbox-executor-crds", "sandbox-executor-crds-removal"
KINDS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job")


def of_job(chart: Rendered, name: str) -> list[Manifest]:
    return [item for item in chart.manifests if item["kind"] in KINDS and item["metadata"]["name"] == name]


def rules(chart: Rendered, name: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Names and verbs of each rule, all of them about definitions."""
    found = chart.one("ClusterRole", name)["rules"]
    assert all(rule["apiGroups"] == ["apiextensions.k8s.io"] for rule in found)
    assert all(rule["resources"] == ["customresourcedefinitions"] for rule in found)
    return [(tuple(rule.get("resourceNames", ())), tuple(rule["verbs"])) for rule in found]


def test_all_of_it_is_there_for_the_upgrade_only(chart: Rendered) -> None:
    made = of_job(chart, UPGRADE)
    assert [item["kind"] for item in made] == list(KINDS)
    for item in made:
        annotations = item["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-upgrade"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    weights = {item["kind"]: int(item["metadata"]["annotations"]["helm.sh/hook-weight"]) for item in made}
    assert weights["ServiceAccount"] == weights["ClusterRole"] < weights["ClusterRoleBinding"] < weights["Job"]
    assert of_job(chart, REMOVAL) == []


def test_its_rights_are_on_our_definitions_by_name(chart: Rendered, render: Render) -> None:
    ours = tuple(sorted(definition["metadata"]["name"] for definition in (execution_crd(), pool_crd())))
    assert rules(chart, UPGRADE) == [(ours, ("get", "patch")), ((), ("create",))]
    assert rules(render("crds.keep=false"), REMOVAL) == [(ours, ("get", "delete"))]


def test_only_the_job_has_them(render: Render) -> None:
    chart = render("crds.keep=false")
    for name in (UPGRADE, REMOVAL):
        binding = chart.one("ClusterRoleBinding", name)
        assert binding["roleRef"]["name"] == name
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
        assert chart.one("Job", name)["spec"]["template"]["spec"]["serviceAccountName"] == name


def test_removal_is_asked_for_and_comes_last(render: Render) -> None:
    removal = of_job(render("crds.keep=false"), REMOVAL)
    assert {item["metadata"]["annotations"]["helm.sh/hook"] for item in removal} == {"post-delete"}
    assert not any(of_job(render("crds.enabled=false", "crds.keep=false"), name) for name in (UPGRADE, REMOVAL))


def test_the_jobs_run_where_and_as_the_controller_does(render: Render) -> None:
    chart = render(
        'controller.image.repository="registry.example/c"',
        'controller.nodeSelector={"a":"b"}',
        'controller.tolerations=[{"operator":"Exists"}]',
        'imagePullSecrets=[{"name":"pull"}]',
    )
    job = chart.one("Job", UPGRADE)["spec"]["template"]["spec"]
    controller = chart.one("Deployment", "sandbox-executor-controller")["spec"]["template"]["spec"]
    for key in ("nodeSelector", "tolerations", "imagePullSecrets"):
        assert job[key] == controller[key]
    assert job["containers"][0]["image"] == controller["containers"][0]["image"]
    assert job["securityContext"].items() <= controller["securityContext"].items()


@pytest.mark.parametrize("words", [[], ["applied"], ["apply", "now"]])
def test_a_wrong_word_is_refused_with_the_right_ones(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["crds", *words])
    assert crds.main() == 2
    assert "apply|delete" in capsys.readouterr().err


def test_without_a_cluster_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr("sys.argv", ["crds", "apply"])
    monkeypatch.setattr(crds, "configure_logs", lambda level: None)  # it would stay so for all tests that follow
    monkeypatch.setenv("KUBECONFIG", str(tmp_path_factory.mktemp("none") / "kubeconfig"))
    assert crds.main() == 2
    assert "set KUBECONFIG" in capsys.readouterr().err
