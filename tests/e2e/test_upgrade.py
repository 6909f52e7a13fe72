"""Chart and CRDs, upgraded in place: tokens stay, and Executions go on, none lost and none begun twice."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import yaml

from tests.e2e.chart import chart_words, upgraded
from tests.e2e.cluster import (
    CONTROLLER_PODS,
    DEFAULT_PODS,
    REPOSITORY,
    SYSTEM_NAMESPACE,
    Object,
    Tenant,
    Tools,
    eventually,
)
from tests.e2e.stream import Logs, Stream

_CRDS = REPOSITORY / "deploy/helm/sandbox-executor/crds"


def _generated_secrets(tools: Tools) -> dict[str, Object]:
    secrets = tools.items("secrets", SYSTEM_NAMESPACE)
    return {secret["metadata"]["name"]: secret["data"] for secret in secrets if secret["type"] == "Opaque"}


def test_an_upgrade_keeps_the_generated_tokens(tenant: Tenant, request: pytest.FixtureRequest) -> None:
    before = _generated_secrets(tenant.tools)
    tenant.tools.helm(*chart_words(request.config))
    assert len(before) == 2
    assert _generated_secrets(tenant.tools) == before
    assert tenant.run("after", "def handler(event): return 1")["phase"] == "Succeeded"


def test_tenants_with_edit_may_run_executions_and_neither_write_status_nor_pools(tenant: Tenant) -> None:
    tools, user = tenant.tools, "tenant-user"
    binding = ("create", "rolebinding", "edit", "--clusterrole=edit", f"--user={user}", "-n", tenant.namespace)
    tools.kubectl(*binding)

    def may(verb: str, what: str, *more: str) -> bool:
        words = ("auth", "can-i", verb, what, *more, "-n", tenant.namespace, "--as", user)
        return tools.kubectl(*words, check=False).strip() == "yes"

    eventually(
        lambda: may("create", "executions.sandbox-executor.dev")
    )  # the API server learns of roles a moment later
    assert may("delete", "executions.sandbox-executor.dev")
    assert not may("update", "executions.sandbox-executor.dev", "--subresource=status")
    assert not may("create", "executorpools.sandbox-executor.dev")


def test_an_upgrade_under_load_loses_and_repeats_nothing(tenant: Tenant, request: pytest.FixtureRequest) -> None:
    """CRDs of an older version, another template for the controllers and for the executors; then all of it back."""
    tools, stream, logs = tenant.tools, Stream(tenant), Logs(tenant.tools)
    before = _names(tools, CONTROLLER_PODS) | _names(tools, DEFAULT_PODS)
    values = ("controller.podLabels.version=two", "defaultPool.podTemplate.labels.version=two")
    with ExitStack() as following:
        following.enter_context(logs.follow())
        with stream.flowing(), _older_crds(tools), upgraded(tools, request.config, *values):
            assert _crds(tools) == _released_crds(), "the chart's Job has not brought them"
            eventually(lambda: len(_of_version_two(tools)) == 4, timeout_s=240, interval_s=1)
            following.enter_context(logs.follow())
            assert not before & _of_version_two(tools)
            stream.go_on(10)
    waited = stream.check(may_crash=0, logs=logs)
    print(f"\n{len(stream.created)} Executions, one waited {waited:.2f} s until it was claimed")


def _names(tools: Tools, selector: str) -> set[str]:
    return {pod["metadata"]["name"] for pod in tools.pods(selector)}


def _of_version_two(tools: Tools) -> set[str]:
    """Once nothing else is there."""
    found = [tools.pods(selector) for selector in (CONTROLLER_PODS, DEFAULT_PODS)]
    pods = [pod for some in found for pod in some]
    new = {pod["metadata"]["name"] for pod in pods if pod["metadata"]["labels"].get("version") == "two"}
    return new if len(new) == len(pods) else set()


def _released_crds() -> list[Object]:
    """What this version says of its kinds, without what the API server adds."""
    return [_said(yaml.safe_load(path.read_text())) for path in sorted(_CRDS.glob("*.yaml"))]


def _crds(tools: Tools) -> list[Object]:
    return [_said(tools.get("crd", path.stem)) for path in sorted(_CRDS.glob("*.yaml"))]


def _said(crd: Object) -> Object:
    (version,) = crd["spec"]["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]
    return {"fields": fields, "columns": version["additionalPrinterColumns"]}


@contextmanager
def _older_crds(tools: Tools) -> Iterator[None]:
    """A field and a column less, as an earlier release had them; afterwards this release's CRDs in any case."""
    older = [yaml.safe_load(path.read_text()) for path in sorted(_CRDS.glob("*.yaml"))]
    for crd in older:
        (version,) = crd["spec"]["versions"]
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].pop("warmJavascript", None)
        version["additionalPrinterColumns"].pop()
    try:
        _apply_crds(tools, older)
        assert _crds(tools) != _released_crds()
        yield
    finally:
        _apply_crds(tools, [yaml.safe_load(path.read_text()) for path in sorted(_CRDS.glob("*.yaml"))])


def _apply_crds(tools: Tools, manifests: list[Object]) -> None:
    text = yaml.safe_dump_all(manifests)
    tools.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
