"""Bad input never reaches the controller: the API server refuses it and says what to write instead."""

from typing import Any

import pytest

from tests.e2e.cluster import CommandFailed, Tenant, execution

CODE = "def handler(event): return 1"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"language": "ruby"}, 'supported values: "python", "javascript", "shell"'),
        ({"timeoutSeconds": 0}, "greater than or equal to 1"),
        ({"timeoutSeconds": 3601}, "less than or equal to 3600"),
        ({"code": "x" * 1_048_577}, "1 MiB (1048576 bytes)"),
        ({"code": "é" * 524_289}, "1 MiB (1048576 bytes)"),
        ({"executionId": "exec_1"}, "for example exec_20260115_a1b2c3d4"),
        ({"timeout": 5}, 'unknown field "spec.timeout"'),
        ({"codeFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}, "exactly one of the two"),
        ({"resources": {"memory": "lots"}}, "for example 256Mi"),
    ],
    ids=["language", "timeout-0", "timeout-3601", "code", "code-utf8", "id", "unknown", "two-codes", "memory"],
)
def test_the_api_server_refuses(tenant: Tenant, changes: dict[str, Any], says: str) -> None:
    assert says in tenant.refuse(execution("bad", **{"code": CODE, **changes})).message


def test_code_of_exactly_one_mebibyte_runs(tenant: Tenant) -> None:
    padding = 1_048_576 - len(CODE) - 2
    assert tenant.run("large", f"{CODE}\n#{'x' * padding}")["phase"] == "Succeeded"


@pytest.mark.parametrize(
    "patch",
    ['{"spec":{"code":"x"}}', '{"spec":{"event":{"a":2}}}', '{"spec":{"env":[{"name":"A","value":"b"}]}}'],
    ids=["code", "event", "env"],
)
def test_a_changed_spec_is_refused(tenant: Tenant, patch: str) -> None:
    tenant.run("fixed", CODE, event={"a": 1})
    with pytest.raises(CommandFailed, match="create a new Execution instead"):
        tenant.tools.kubectl("patch", "exn", "fixed", "-n", tenant.namespace, "--type=merge", "-p", patch)
