"""Pod Security, and pools that ask for more than they may: the API server itself says no."""

import json
import re
import secrets

import pytest
import yaml

from tests.e2e.cluster import REPOSITORY, SYSTEM_NAMESPACE, CommandFailed, Tools, eventually, pool

CHART = str(REPOSITORY / "deploy/helm/sandbox-executor")
ENFORCE = "pod-security.kubernetes.io/enforce"


def minor_version(tools: Tools) -> int:
    found = json.loads(tools.kubectl("version", "-o", "json"))["serverVersion"]["minor"]
    return int(re.sub(r"\D", "", found))


def test_all_pods_were_admitted_under_the_enforced_label(installed: Tools) -> None:
    labels = installed.get("namespace", SYSTEM_NAMESPACE)["metadata"]["labels"]
    assert labels[ENFORCE] == "privileged"
    parts = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in installed.items("pods", SYSTEM_NAMESPACE)
    }
    assert parts >= {"controller", "executor", "seccomp-installer"}


@pytest.mark.parametrize(
    ("level", "volumes"), [("baseline", "hostPath volumes"), ("restricted", "restricted volume types")]
)
def test_a_lower_level_would_not_admit_them(installed: Tools, level: str, volumes: str) -> None:
    """What a change of the label would break, as the API server says it, without the change: it looks for a second."""
    patch = json.dumps({"metadata": {"labels": {ENFORCE: level}}})
    words = ("patch", "namespace", SYSTEM_NAMESPACE, "--dry-run=server", "--type=merge", "-p", patch)
    said = eventually(lambda: (said := installed.kubectl_says(*words)) and "only checked" not in said and said)
    assert f'violate the new PodSecurity enforce level "{level}:latest"' in said
    assert volumes in said
    if minor_version(installed) < 35:
        assert re.search(r"executor-default-[^\n]*procMount", said), said


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (
            {ENFORCE: "baseline"},
            r'enforces Pod Security "baseline" \(version latest\), and these pods need "privileged"',
        ),
        ({ENFORCE: "restricted"}, r'enforces Pod Security "restricted"'),
        ({ENFORCE: "privileged"}, ""),
        ({}, ""),
    ],
    ids=["baseline", "restricted", "privileged", "none"],
)
def test_the_chart_refuses_a_namespace_whose_level_its_pods_would_not_pass(
    installed: Tools, labels: dict[str, str], says: str
) -> None:
    namespace = f"e2e-level-{secrets.token_hex(4)}"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    installed.kubectl("create", "-f", "-", stdin=yaml.safe_dump(manifest))
    install: tuple[str, ...] = (
        "install",
        "another",
        CHART,
        "--namespace",
        namespace,
        "--dry-run=server",
        "--skip-crds",
    )
    install += ("--set", "defaultPool.enabled=false")  # there is one already, of the real release
    try:
        if says:
            with pytest.raises(CommandFailed, match=says):
                installed.helm(*install)
        else:
            assert "kind: DaemonSet" in installed.helm(*install)
    finally:
        installed.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ({"hostUsers": True}, "unknown field"),
        ({"securityContext": {"runAsUser": 0}}, "unknown field"),
        ({"containers": [{"name": "executor"}]}, "unknown field"),
        (
            {"annotations": {"container.apparmor.security.beta.kubernetes.io/executor": "unconfined"}},
            "isolation is the operator's",
        ),
        ({"annotations": {"io.kubernetes.cri-o.userns-mode": "host"}}, "isolation is the operator's"),
    ],
    ids=["host-users", "security-context", "containers", "apparmor-annotation", "cri-o-annotation"],
)
def test_a_pool_cannot_ask_for_other_isolation(installed: Tools, template: dict[str, object], says: str) -> None:
    manifest = yaml.safe_dump(pool(f"pool-{secrets.token_hex(4)}", podTemplate=template))
    with pytest.raises(CommandFailed, match=says):
        installed.kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest)


def test_a_pool_may_still_annotate_its_pods(installed: Tools) -> None:
    manifest = yaml.safe_dump(pool(f"pool-{secrets.token_hex(4)}", podTemplate={"annotations": {"team/cost": "42"}}))
    installed.kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest)
