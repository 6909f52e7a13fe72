"""What the chart installs fits the code that runs in it, and asks for nothing beyond."""

import base64
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from contracts.crd import manifests as crd_manifests
from contracts.execution import IMMUTABLE_MESSAGE, ExecutionSpec
from contracts.kube import GROUP
from contracts.pool import ExecutorPoolSpec
from controller import names
from controller.endpoint import build_slice
from controller.settings import Settings
from tests.unit.chart.conftest import CHART, NAMESPACE, REPOSITORY, Manifest, Render, Rendered, RunHelm

CONTROLLER = "sandbox-executor-controller"
INSTALLER = "sandbox-executor-seccomp-installer"


def controller_container(chart: Rendered) -> Manifest:
    (container,) = chart.one("Deployment", CONTROLLER)["spec"]["template"]["spec"]["containers"]
    return dict(container)


def plain_environment(chart: Rendered) -> dict[str, str]:
    return {item["name"]: item["value"] for item in controller_container(chart)["env"] if "value" in item}


def test_helm_lint_finds_nothing(run_helm: RunHelm) -> None:
    ended = run_helm("lint", "--strict", str(CHART), "--kube-version", "v1.34.0")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "[WARNING]" not in ended.stdout


def test_chart_holds_the_generated_crds() -> None:
    """Helm takes them from the chart's own folder, so there are copies; ``make crds`` writes both."""
    copies = {path.name: path.read_text() for path in (CHART / "crds").iterdir()}
    assert copies == {path.name: path.read_text() for path in (REPOSITORY / "deploy" / "crds").iterdir()}
    assert set(copies) == set(crd_manifests())


def test_admission_policy_holds_what_the_crd_cannot(chart: Rendered) -> None:
    policy = chart.one("ValidatingAdmissionPolicy", "sandbox-executor-immutable-event")["spec"]
    assert policy["failurePolicy"] == "Fail"
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["operations"], rule["resources"]) == ([GROUP], ["UPDATE"], ["executions"])
    (validation,) = policy["validations"]
    assert validation["expression"] == "object.spec.?event == oldObject.spec.?event"
    assert validation["message"] == IMMUTABLE_MESSAGE
    binding = chart.one("ValidatingAdmissionPolicyBinding", "sandbox-executor-immutable-event")["spec"]
    assert binding == {"policyName": "sandbox-executor-immutable-event", "validationActions": ["Deny"]}


def test_controller_gets_every_setting_that_it_reads(chart: Rendered) -> None:
    given = {item["name"] for item in controller_container(chart)["env"]}
    of_store = {name for name in Settings.model_fields if name.startswith(("object_store_", "output_"))}
    assert given == {name.upper() for name in Settings.model_fields.keys() - of_store}


def test_controller_accepts_the_settings(chart: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in plain_environment(chart).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPERATOR_NAMESPACE", NAMESPACE)
    settings = Settings()
    assert settings.executor_image == "sandbox-executor/executor:0.1.0"
    assert settings.service_name == chart.one("Service", CONTROLLER)["metadata"]["name"]
    assert settings.executor_secret_name == chart.one("Secret", "sandbox-executor-executor")["metadata"]["name"]


def test_traces_go_where_the_values_say_and_nowhere_by_default(chart: Rendered, render: Render) -> None:
    variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
    assert plain_environment(chart)[variable] == ""
    on = render('tracing.endpoint="http://collector.observability:4318"')
    assert plain_environment(on)[variable] == "http://collector.observability:4318"


def test_ports_and_probes_meet_where_the_controller_listens(chart: Rendered) -> None:
    container, environment = controller_container(chart), plain_environment(chart)
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    assert ports == {"internal-api": environment["INTERNAL_API_PORT"], "health": environment["HEALTH_PORT"]}
    probed = {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
    assert probed == {"/healthz", "/readyz"}
    assert {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} == {"health"}
    (port,) = chart.one("Service", CONTROLLER)["spec"]["ports"]
    assert port["targetPort"] == "internal-api"


def test_every_secret_file_is_mounted_where_the_controller_looks(chart: Rendered) -> None:
    spec = chart.one("Deployment", CONTROLLER)["spec"]["template"]["spec"]
    (mount,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "secrets"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "secrets"]
    mounted = set()
    for source in volume["projected"]["sources"]:
        data = chart.one("Secret", source["secret"]["name"])["data"]
        mounted |= {f"{mount['mountPath']}/{item['path']}" for item in source["secret"]["items"] if item["key"] in data}
    wanted = {value for name, value in plain_environment(chart).items() if name.endswith("_FILE") and value}
    assert mounted == wanted


def test_executors_mount_a_secret_that_does_not_hold_the_report_key(chart: Rendered) -> None:
    data = chart.one("Secret", plain_environment(chart)["EXECUTOR_SECRET_NAME"])["data"]
    assert set(data) == {names.INTERNAL_API_TOKEN_KEY, names.EXECUTE_API_TOKEN_KEY}


def test_generated_secrets_are_long_and_all_different(chart: Rendered, render: Render) -> None:
    values = [
        base64.b64decode(value).decode()
        for rendering in (chart, render())
        for secret in rendering.all("Secret")
        for value in secret["data"].values()
    ]
    assert len(values) == len(set(values)) == 6
    assert all(len(value) >= 43 for value in values)


def test_existing_secrets_replace_the_generated_ones(render: Render) -> None:
    chart = render('secrets.executor.existingSecret="mine"', 'secrets.controller.existingSecret="keys"')
    assert chart.all("Secret") == []
    assert plain_environment(chart)["EXECUTOR_SECRET_NAME"] == "mine"
    volumes = chart.one("Deployment", CONTROLLER)["spec"]["template"]["spec"]["volumes"]
    assert [source["secret"]["name"] for source in volumes[0]["projected"]["sources"]] == ["mine", "keys"]


def test_two_controllers_on_different_nodes_and_a_drain_takes_one_at_a_time(chart: Rendered) -> None:
    spec = chart.one("Deployment", CONTROLLER)["spec"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]) == (2, {"maxSurge": 1, "maxUnavailable": 0})
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    budget = chart.one("PodDisruptionBudget", CONTROLLER)["spec"]
    assert budget["maxUnavailable"] == 1
    labels = spec["template"]["metadata"]["labels"].items()
    for selector in (budget["selector"], spread["labelSelector"], spec["selector"]):
        assert selector["matchLabels"].items() <= labels


def test_controllers_are_spread_as_one_says(render: Render) -> None:
    constraint = {"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    chart = render(f"controller.topologySpreadConstraints={json.dumps([constraint])}")
    pod = chart.one("Deployment", CONTROLLER)["spec"]["template"]["spec"]
    assert pod["topologySpreadConstraints"] == [constraint]


def test_a_budget_for_executors_selects_the_pods_of_every_pool_and_is_there_on_request(
    chart: Rendered, render: Render
) -> None:
    assert [budget["metadata"]["name"] for budget in chart.all("PodDisruptionBudget")] == [CONTROLLER]
    on = render("executor.podDisruptionBudget.enabled=true", 'executor.podDisruptionBudget.maxUnavailable="25%"')
    budget = on.one("PodDisruptionBudget", "sandbox-executor-executors")["spec"]
    assert budget["maxUnavailable"] == "25%"
    for pool in ("default", "other"):
        assert budget["selector"]["matchLabels"].items() <= names.pod_labels(pool).items()


def test_every_pod_of_the_chart_can_have_a_priority(render: Render) -> None:
    chart = render(
        'controller.priorityClassName="high"',
        'seccompProfile.installer.priorityClassName="high"',
        'appArmorProfile={"type":"Localhost","installer":{"enabled":true,"priorityClassName":"high"}}',
        "crds.keep=false",
    )
    assert len(chart.pods()) == 5
    assert {pod["spec"]["priorityClassName"] for pod in chart.pods()} == {"high"}


def test_a_single_controller_does_not_keep_its_node_from_being_drained(render: Render) -> None:
    chart = render("controller.replicas=1")
    assert chart.one("Deployment", CONTROLLER)["spec"]["replicas"] == 1
    assert chart.all("PodDisruptionBudget") == []


def test_reports_go_where_the_leader_says_and_nowhere_else(chart: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    service = chart.one("Service", CONTROLLER)
    assert "selector" not in service["spec"]
    for name, value in plain_environment(chart).items():
        monkeypatch.setenv(name, value)
    for name, value in {"OPERATOR_NAMESPACE": NAMESPACE, "POD_IP": "10.0.0.1", "POD_NAME": "p", "POD_UID": "u"}.items():
        monkeypatch.setenv(name, value)
    made = build_slice(Settings())
    assert made["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
    (port,), (offered,) = made["ports"], service["spec"]["ports"]
    assert (port["name"], port["port"]) == (offered["name"], offered["port"])
    (role,) = chart.all("Role")
    (rule,) = [rule for rule in role["rules"] if rule["resources"] == ["endpointslices"]]
    assert rule["resourceNames"] == [made["metadata"]["name"]]


def test_no_pod_can_gain_privileges(chart: Rendered) -> None:
    for pod in chart.pods():
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]


def test_controller_is_not_root_and_only_it_and_the_upgrade_of_definitions_have_a_token(chart: Rendered) -> None:
    controller = chart.one("Deployment", CONTROLLER)["spec"]["template"]["spec"]
    security = controller["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"], security["runAsGroup"]) == (True, 1000, 1000)
    with_token = [pod["spec"] for pod in chart.pods() if pod["spec"]["automountServiceAccountToken"]]
    job = chart.one("Job", "sandbox-executor-crds")["spec"]["template"]["spec"]
    assert [pod["serviceAccountName"] for pod in with_token] == [CONTROLLER, job["serviceAccountName"]]
    assert job["serviceAccountName"] != CONTROLLER


def test_network_policies_select_the_pods_that_there_are(chart: Rendered) -> None:
    controller_labels = chart.one("Deployment", CONTROLLER)["spec"]["template"]["metadata"]["labels"]
    executors = chart.one("NetworkPolicy", "sandbox-executor-executors")["spec"]
    controller = chart.one("NetworkPolicy", CONTROLLER)["spec"]
    assert executors["podSelector"]["matchLabels"].items() <= names.pod_labels("default").items()
    assert controller["podSelector"]["matchLabels"].items() <= controller_labels.items()
    assert not executors["podSelector"]["matchLabels"].items() <= controller_labels.items()
    (way_in,), (way_out,) = executors["ingress"], executors["egress"]
    assert way_in == {"from": way_out["to"], "ports": [{"protocol": "TCP", "port": names.EXECUTOR_PORT}]}
    assert way_out["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert way_out["to"] == [{"podSelector": controller["podSelector"]}]
    assert controller["ingress"][0]["from"] == [{"podSelector": executors["podSelector"]}]
    assert executors["policyTypes"] == ["Ingress", "Egress"]


def test_network_policies_can_be_left_out(render: Render) -> None:
    assert render("networkPolicy.enabled=false").all("NetworkPolicy") == []


def test_default_pool_is_one_that_the_controller_takes(chart: Rendered, render: Render) -> None:
    ExecutorPoolSpec.model_validate(chart.one("ExecutorPool", "default")["spec"])
    full = render(
        'defaultPool.allowedNamespaces={"matchLabels":{"sandbox":"yes"}}',
        'defaultPool.env=[{"name":"TZ","value":"UTC"}]',
        'defaultPool.podTemplate={"nodeSelector":{"a":"b"},"tolerations":[{"operator":"Exists"}]}',
        'defaultPool.limits={"timeoutSeconds":60,"memory":"1Gi"}',
        'defaultPool.defaults={"ttlSecondsAfterFinished":600,"resources":{"memory":"128Mi"}}',
        'defaultPool.isolation={"mode":"strict","runtimeClassName":"kata"}',
    )
    spec = ExecutorPoolSpec.model_validate(full.one("ExecutorPool", "default")["spec"])
    assert spec.allowed_namespaces is not None
    assert spec.allowed_namespaces.match_labels == {"sandbox": "yes"}
    assert spec.isolation.runtime_class_name == "kata"
    assert spec.defaults is not None
    assert spec.defaults.ttl_seconds_after_finished == 600


def test_default_pool_can_be_left_out(render: Render) -> None:
    assert render("defaultPool.enabled=false").all("ExecutorPool") == []


def test_installed_profile_is_named_by_its_content(chart: Rendered) -> None:
    text = (CHART / "files" / "executor-seccomp.json").read_text()
    file = f"executor-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    assert plain_environment(chart)["SECCOMP_PROFILE"] == f"sandbox-executor/{file}"
    assert chart.one("ConfigMap", INSTALLER)["data"][file] == text
    (container,) = chart.one("DaemonSet", INSTALLER)["spec"]["template"]["spec"]["containers"]
    assert container["command"][-2:] == [f"/installer/{file}", f"/profiles/{file}"]


def test_installer_reaches_one_folder_of_every_node(chart: Rendered) -> None:
    spec = chart.one("DaemonSet", INSTALLER)["spec"]["template"]["spec"]
    folders = [volume["hostPath"] for volume in spec["volumes"] if "hostPath" in volume]
    assert folders == [{"path": "/var/lib/kubelet/seccomp/sandbox-executor", "type": "DirectoryOrCreate"}]
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert not any(
        "hostPath" in volume for volume in chart.one("Deployment", CONTROLLER)["spec"]["template"]["spec"]["volumes"]
    )


def test_profile_of_ones_own_replaces_the_installer(render: Render) -> None:
    chart = render("seccompProfile.installer.enabled=false", 'seccompProfile.localhostProfile="operator/executor.json"')
    assert chart.all("DaemonSet") == []
    assert plain_environment(chart)["SECCOMP_PROFILE"] == "operator/executor.json"


def test_long_release_names_stay_valid(render: Render) -> None:
    chart = render(release="r" * 53)
    lengths = {len(manifest["metadata"]["name"]) for manifest in chart.manifests}
    assert max(lengths) <= 63
    for pod in chart.pods():
        assert all(len(value) <= 63 for value in pod["metadata"]["labels"].values())


def test_every_object_carries_the_standard_labels(chart: Rendered) -> None:
    for manifest in chart.manifests:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "sandbox-executor"
        assert labels["app.kubernetes.io/instance"] == "sandbox-executor"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


@pytest.fixture
def chart_with_notes(tmp_path: Path) -> Path:
    """Helm prints notes only beside a cluster, so they are rendered as an object of a copy of the chart."""
    copy = shutil.copytree(CHART, tmp_path / "chart")
    (copy / "templates" / "NOTES.txt").rename(copy / "files" / "NOTES.txt")
    wrapped = 'kind: Notes\nmetadata: {name: notes}\ntext: |-\n{{ tpl (.Files.Get "files/NOTES.txt") . | indent 2 }}\n'
    (copy / "templates" / "notes.yaml").write_text(wrapped)
    return copy


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("crds.keep=true", None),
        ("crds.keep=false", "helm uninstall deletes the CustomResourceDefinitions"),
        ("crds.enabled=false", "kubectl apply --server-side --force-conflicts -f crds/"),
    ],
)
def test_notes_say_what_becomes_of_the_definitions(
    render: Render, chart_with_notes: Path, value: str, said: str | None
) -> None:
    notes = render(value, chart=chart_with_notes).one("Notes", "notes")["text"]
    assert ("crds" in notes) is (said is not None)
    assert (said or "") in notes


def test_notes_name_a_next_command_that_works(render: Render, chart_with_notes: Path) -> None:
    notes = render(chart=chart_with_notes).one("Notes", "notes")["text"]
    start, end = notes.index("apiVersion:"), notes.index("\nEOF\n")
    hello = yaml.safe_load(notes[start:end])
    assert hello["kind"] == "Execution"
    ExecutionSpec.model_validate(hello["spec"])
    assert f"kubectl label namespace {NAMESPACE}" in notes
    assert f"kubectl -n {NAMESPACE} rollout status deployment/{CONTROLLER}" in notes
