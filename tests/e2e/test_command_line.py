"""``sandbox-run``, ``kubectl exn`` and the client's ``run`` as a tenant uses them, on the real cluster."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from sandbox_executor_client import AsyncClient, ExecutionFailed, Forbidden
from tests.e2e.cluster import REPOSITORY, SCRIPTS, Tenant, eventually

HELLO = "def handler(event):\n    print('Hello,', event['name'])\n    return {'greeting': 'Hello'}\n"


def run(*words: str, stdin: str = "", kubeconfig: Path | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command; kubectl finds its plugin in PATH."""
    environment = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    if kubeconfig is not None:
        environment["KUBECONFIG"] = str(kubeconfig)
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=120, check=False, env=environment)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def member(tenant: Tenant, tmp_path: Path) -> Path:
    """Kubeconfig of a ServiceAccount that may edit the tenant's namespace and nothing else."""
    tenant.tools.kubectl("create", "serviceaccount", "ada", "-n", tenant.namespace)
    subject = f"--serviceaccount={tenant.namespace}:ada"
    tenant.tools.kubectl("create", "rolebinding", "ada", "-n", tenant.namespace, "--clusterrole=edit", subject)
    token = tenant.tools.kubectl("create", "token", "ada", "-n", tenant.namespace).strip()
    config = yaml.safe_load(tenant.tools.kubectl("config", "view", "--raw", "--minify"))
    config["users"] = [{"name": "ada", "user": {"token": token}}]
    config["contexts"][0]["context"] |= {"user": "ada", "namespace": tenant.namespace}
    path = tmp_path / "ada"
    path.write_text(yaml.safe_dump(config))
    eventually(lambda: run("sandbox-run", "list", kubeconfig=path)[0] == 0)  # the role is aggregated a moment later
    return path


def test_a_tenant_runs_looks_and_cancels_with_sandbox_run(member: Path) -> None:
    ran = run(
        "sandbox-run", "--cluster", "-l", "python", "--event", '{"name": "Ada"}', "-", stdin=HELLO, kubeconfig=member
    )
    assert ran == (0, 'Hello, Ada\n{"greeting": "Hello"}\n', "")
    code = "import time\ntime.sleep(120)\n"
    words = ("sandbox-run", "--cluster", "--no-wait", "--name", "long", "--timeout", "2m", "-l", "python", "-")
    assert run(*words, stdin=code, kubeconfig=member)[:2] == (0, "long\n")
    eventually(lambda: "\tRunning\t" in run("sandbox-run", "get", "long", "-o", "raw", kubeconfig=member)[1])
    assert run("sandbox-run", "cancel", "long", kubeconfig=member) == (0, "long has ended: Cancelled\n", "")
    assert run("sandbox-run", "logs", "long", kubeconfig=member)[0] == 0
    assert "somebody cancelled it" in run("sandbox-run", "describe", "long", kubeconfig=member)[1]
    failed = run("sandbox-run", "--cluster", "-f", str(REPOSITORY / "examples/timeout.yaml"), kubeconfig=member)
    assert failed[0] == 124


def test_a_tenant_is_refused_elsewhere_with_a_clear_line(member: Path) -> None:
    code, printed, said = run("sandbox-run", "list", "-n", "kube-system", kubeconfig=member)
    assert (code, printed, said.count("\n")) == (126, "", 1)
    assert "cannot list resource" in said


def test_kubectl_finds_the_plugin(tenant: Tenant, member: Path) -> None:
    kubectl = tenant.tools.kubectl_path
    ran = run(kubectl, "exn", "run", "-l", "shell", "--name", "plug", "-", stdin="echo hi; exit 5", kubeconfig=member)
    assert ran[:2] == (5, "hi\n")
    assert run(kubectl, "exn", "logs", "plug", kubeconfig=member)[1] == "hi\n"
    assert "plug" in run(kubectl, "exn", "list", kubeconfig=member)[1]
    assert run(kubectl, "__complete", "exn", "logs", "pl", kubeconfig=member)[1].splitlines()[0] == "plug"


async def test_the_client_runs_code_as_the_tenant(tenant: Tenant, member: Path) -> None:
    async with AsyncClient(kubeconfig=str(member)) as client:
        assert client.namespace == tenant.namespace
        result = await client.run("def handler(event): return event['n'] * 2", event={"n": 21})
        assert (result.exit_code, result.return_value) == (0, 42)
        with pytest.raises(ExecutionFailed) as failed:
            await client.run("print('no'); raise SystemExit(3)", check=True)
        assert (failed.value.result.exit_code, failed.value.result.stdout) == (3, "no\n")
    async with AsyncClient("kube-system", kubeconfig=str(member)) as elsewhere:
        with pytest.raises(Forbidden) as refused:
            await elsewhere.run("print(1)")
        assert refused.value.request_id
