"""The chart, upgraded in place: tokens stay, and Executions go on."""

import pytest

from tests.e2e.cluster import SYSTEM_NAMESPACE, Object, Tenant, Tools
from tests.e2e.conftest import chart_words


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

    assert may("create", "executions.sandbox-executor.dev")
    assert may("delete", "executions.sandbox-executor.dev")
    assert not may("update", "executions.sandbox-executor.dev", "--subresource=status")
    assert not may("create", "executorpools.sandbox-executor.dev")
