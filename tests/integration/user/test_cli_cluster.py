"""``sandbox-run --cluster`` and the commands about what is in a cluster, as a tenant."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from controller import names
from tests.integration.controller.apiserver import ApiServer
from tests.integration.user.conftest import EXAMPLES, TENANT, RunCli, Whole
from tests.patience import PATIENCE_S, TRIES, time_limits, wait_until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]
HELLO = "def handler(event):\n    print('Hello,', event['name'])\n    return {'greeting': 'Hello'}\n"
EVENT = '{"name": "Ada"}'
SLEEP = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"


def test_the_same_command_in_a_cluster_prints_the_same(tenant_cli: RunCli) -> None:
    words = ("-l", "python", "--event", EVENT, "-")
    here, there = tenant_cli(*words, stdin=HELLO), tenant_cli("--cluster", *words, stdin=HELLO)
    assert there == here
    assert (there.exit_code, there.stdout) == (0, 'Hello, Ada\n{"greeting": "Hello"}\n')


def test_what_was_run_can_be_looked_at(tenant_cli: RunCli) -> None:
    code = "import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(3)\n"
    ran = tenant_cli("--cluster", "-l", "python", "--name", "exits", "-", stdin=code)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (3, "out\n", "err\n")
    assert tenant_cli("logs", "exits").stdout == "out\n"
    assert tenant_cli("logs", "exits").stderr == "err\n"
    assert tenant_cli("logs", "exits").exit_code == 0
    row = tenant_cli("get", "exits", "-o", "raw").stdout.split("\t")
    assert row[:5] == ["exits", "Failed", "NonZeroExit", "default", "3"]
    listed = tenant_cli("list").stdout.splitlines()
    assert listed[0].split() == ["NAME", "PHASE", "REASON", "POOL", "EXIT", "DURATION", "AGE"]
    assert listed[1].split()[:3] == ["exits", "Failed", "NonZeroExit"]
    assert tenant_cli("list", "--phase", "Succeeded").stderr == f"sandbox-run: no Executions in namespace {TENANT}\n"
    found = json.loads(tenant_cli("list", "-o", "json").stdout)["items"][0]
    assert found["metadata"]["name"] == "exits"
    assert "managedFields" not in found["metadata"]
    assert yaml.safe_load(tenant_cli("get", "exits", "-o", "yaml").stdout)["status"]["exitCode"] == 3
    described = tenant_cli("describe", "exits").stdout
    assert "That means:   the program ended with an exit code of its own\n" in described
    assert "Ran:          attempt 1 in pod pod-1 on node node-1, for " in described
    assert described.endswith("stderr:\n  err\n")


def test_without_waiting_it_prints_the_name_and_logs_waits(tenant_cli: RunCli) -> None:
    words = ("--cluster", "--no-wait", "-l", "python", "--name")
    ran = tenant_cli(*words, "long", "--timeout", "5m", "-", stdin="import time\ntime.sleep(300)\n")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "long\n", "")
    early = tenant_cli("logs", "long")
    assert (early.exit_code, early.stdout) == (2, "")
    assert "add --wait" in early.stderr
    tenant_cli(*words, "later", "-", stdin="import time\ntime.sleep(3)\nprint('late')\n")
    assert tenant_cli("logs", "--wait", "later").stdout == "late\n"
    assert tenant_cli("cancel", "long", "--no-wait").stdout == "long is asked to end\n"
    waited = tenant_cli("logs", "--wait", "long")
    assert waited.exit_code == 0
    assert "Cancelled" in waited.stderr
    created = tenant_cli("--cluster", "--no-wait", "-o", "json", "-l", "shell", "-", stdin="echo 1")
    assert json.loads(created.stdout)["spec"]["code"] == "echo 1"


def test_cancel(tenant_cli: RunCli) -> None:
    assert tenant_cli("--cluster", "--no-wait", "--name", "long", "-l", "python", "-", stdin=SLEEP).exit_code == 0
    assert tenant_cli("cancel", "long").stdout == "long has ended: Cancelled\n"
    assert tenant_cli("cancel", "long").stdout == "long had ended before: Cancelled\n"
    assert "That means:   somebody cancelled it" in tenant_cli("describe", "long").stdout


def test_reserved_exit_codes(tenant_cli: RunCli) -> None:
    for limit_s in time_limits():
        timed_out = tenant_cli("--cluster", "-l", "python", "--timeout", f"{limit_s}s", "-", stdin=SLEEP)
        if timed_out.stdout:
            break
    assert (timed_out.exit_code, timed_out.stdout) == (124, "begun\n")
    assert "sandbox-run: TimedOut: " in timed_out.stderr
    hungry = "x = []\nwhile True: x.append(bytearray(10**7))\n"
    assert tenant_cli("--cluster", "-l", "python", "-", stdin=hungry).exit_code == 137
    manifest = yaml.safe_load((EXAMPLES / "hello.yaml").read_text())
    manifest["spec"]["codeFrom"] = {"configMapKeyRef": {"name": "none", "key": "k"}}
    del manifest["spec"]["code"]
    rejected = tenant_cli("--cluster", "-f", "-", "-o", "table", stdin=yaml.safe_dump(manifest))
    assert rejected.exit_code == 126
    assert "Rejected (ConfigMapNotFound)" in rejected.stderr


def test_a_manifest_keeps_its_labels_and_runs_once_under_its_name(tenant_cli: RunCli) -> None:
    manifest = yaml.safe_load((EXAMPLES / "hello.yaml").read_text())
    manifest["metadata"] |= {"labels": {"team": "a"}, "annotations": {"note": "b"}}
    first = tenant_cli("--cluster", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert yaml.safe_load(first.stdout)["status"]["returnValue"]["greeting"] == "Hello, Ada"
    stored = json.loads(tenant_cli("get", "hello", "-o", "json").stdout)["metadata"]
    assert (stored["labels"], stored["annotations"]) == ({"team": "a"}, {"note": "b"})
    again = tenant_cli("--cluster", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert "hello has run before" in again.stderr
    assert (
        yaml.safe_load(again.stdout)["status"]["executionId"] == yaml.safe_load(first.stdout)["status"]["executionId"]
    )
    other = tenant_cli("--cluster", "-f", "-", "--event", "{}", stdin=yaml.safe_dump(manifest))
    assert other.exit_code == 2
    assert "asks for something else" in other.stderr
    assert tenant_cli("list", "-l", "team=a", "-o", "raw").stdout.startswith("hello\t")


def test_output_that_the_status_does_not_keep_is_said(tenant_cli: RunCli) -> None:
    code = "def handler(event):\n    for number in range(50_000): print(number)\n    return 'x' * 70_000\n"
    ran = tenant_cli("--cluster", "-l", "python", "-", stdin=code)
    assert ran.stdout.endswith("49999\n")
    assert "of stdout these are the last 65536 of 288890 bytes or more" in ran.stderr
    assert "the return value is larger than 64 KiB" in ran.stderr


def test_a_pool_that_is_not_there_is_told_at_once_and_leaves_nothing_that_waits(
    tenant_cli: RunCli, cli: RunCli, whole: Whole
) -> None:
    words = ("--cluster", "--pool", "nope", "--name", "poolless", "-l", "shell", "-")
    ran = tenant_cli(*words, stdin="echo 1")  # a tenant may not read pools: the controller says it
    assert ran.exit_code == 2
    assert "there is no ExecutorPool 'nope'" in ran.stderr
    assert "poolless is cancelled" in ran.stderr
    assert tenant_cli("cancel", "poolless").stdout == "poolless had ended before: Cancelled\n"
    ran = cli(*words, stdin="echo 1", kubeconfig=whole.admin)
    assert ran.exit_code == 2
    assert "sandbox-run pools lists them" in ran.stderr


def test_who_has_no_rights_is_told_so(tenant_cli: RunCli, cli: RunCli, whole: Whole) -> None:
    for words in (("list", "-n", "default"), ("pools",), ("--cluster", "-n", "default", "-l", "shell", "-")):
        ran = tenant_cli(*words, stdin="echo 1")
        assert (ran.exit_code, ran.stdout, ran.stderr.count("\n")) == (126, "", 1)
        assert 'User "ada" cannot' in ran.stderr
    pools = cli("pools", kubeconfig=whole.admin).stdout.splitlines()
    assert pools[0].split()[:2] == ["NAME", "READY"]
    assert pools[1].split()[:1] == ["default"]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_what_is_waited_for(tenant_cli: RunCli, whole: Whole, number: int, exit_code: int) -> None:
    command = [str(Path(sys.executable).with_name("sandbox-run")), "--cluster", "--name", "left", "-l", "python", "-"]
    environment = {**os.environ, "KUBECONFIG": str(whole.tenant)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(SLEEP)
        process.stdin.close()
        _wait_for_phase(whole, "left", "Running")
        process.send_signal(number)
        assert (process.stderr.read(), process.wait(PATIENCE_S)) == ("", exit_code)
    _wait_for_phase(whole, "left", "Cancelled")


def _wait_for_phase(whole: Whole, name: str, phase: str) -> None:
    def is_so() -> bool:
        items = whole.server.request("GET", names.executions_path(TENANT))["items"]
        phases = [(found.get("status") or {}).get("phase") for found in items if found["metadata"]["name"] == name]
        return phases == [phase]

    wait_until(is_so, f"{name} is not {phase}")


def test_names_that_are_not_there(tenant_cli: RunCli) -> None:
    for command in ("get", "logs", "describe", "cancel"):
        ran = tenant_cli(command, "nothing")
        assert (ran.exit_code, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
        assert '"nothing" not found' in ran.stderr
    assert "is not a name" in tenant_cli("get", "../x").stderr


def test_a_cluster_without_the_operator(cli: RunCli, tmp_path_factory: pytest.TempPathFactory) -> None:
    bare = ApiServer(tmp_path_factory.mktemp("bare"), extra_user="nobody")
    try:
        bare.start()
        for words in (("list",), ("pools",), ("--cluster", "-l", "shell", "-")):
            ran = cli(*words, stdin="echo 1", kubeconfig=bare.kubeconfig)
            assert (ran.exit_code, ran.stdout, ran.stderr.count("\n")) == (125, "", 1)
            assert "install the operator" in ran.stderr
    finally:
        bare.stop()


def test_an_api_server_that_is_not_there(cli: RunCli, whole: Whole, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(whole.tenant.read_text().replace(f":{whole.server.port}", ":1"))
    ran = cli("list", kubeconfig=path)
    assert (ran.exit_code, ran.stdout, ran.stderr.count("\n")) == (125, "", 1)
    assert "is it up, and is this the right --context?" in ran.stderr


def test_kubectl_exn_is_the_same_without_saying_cluster(tenant_cli: RunCli) -> None:
    ran = tenant_cli("run", "-l", "python", "--event", EVENT, "--name", "k", "-", script="kubectl-exn", stdin=HELLO)
    assert (ran.exit_code, ran.stdout) == (0, 'Hello, Ada\n{"greeting": "Hello"}\n')
    assert tenant_cli("logs", "k", script="kubectl-exn").stdout == "Hello, Ada\n"
    ran = tenant_cli("get", "nothing", script="kubectl-exn")
    assert ran.stderr.startswith("kubectl exn: ")


def test_completion_knows_commands_options_files_and_the_names_of_executions(tenant_cli: RunCli) -> None:
    tenant_cli("--cluster", "--name", "complete-me", "-l", "shell", "-", stdin="echo 1")

    def complete(*words: str) -> list[str]:
        ran = tenant_cli(
            _SANDBOX_RUN_COMPLETE="bash_complete",
            COMP_WORDS=" ".join(["sandbox-run", *words]),
            COMP_CWORD=str(len(words)),
        )
        assert ran.exit_code == 0
        return ran.stdout.splitlines()

    assert complete("lo") == ["file,lo", "plain,logs"]
    assert complete("--po") == ["file,--po", "plain,--pool"]
    assert complete("hello.py", "--ev") == ["plain,--event"]
    for _ in range(TRIES):  # it asks the cluster for a moment only: somebody has pressed a key
        if found := complete("describe", "com"):
            break
    assert found == ["plain,complete-me"]
    assert "complete -o nosort -F _sandbox_run_completion sandbox-run" in tenant_cli("completion", "bash").stdout
    for _ in range(TRIES):
        ran = tenant_cli("logs", "com", script="kubectl_complete-exn")
        if ran.stdout != ":4\n":
            break
    assert ran.stdout == "complete-me\n:4\n"
    ran = tenant_cli("run", "", script="kubectl_complete-exn")
    assert ran.stdout.endswith(":0\n")
    lost = tenant_cli("describe", "com", script="kubectl_complete-exn", KUBECONFIG="/nonexistent")
    assert (lost.exit_code, lost.stdout, lost.stderr) == (0, ":4\n", "")


def test_without_a_log_api_following_says_so_and_shows_the_end(tenant_cli: RunCli) -> None:
    words = ("--cluster", "--follow", "-l", "python", "--name", "unfollowed", "-")
    ran = tenant_cli(*words, stdin="import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(3)\n")
    assert (ran.exit_code, ran.stdout) == (3, "out\n")
    said, _, rest = ran.stderr.partition("\n")
    assert "this cluster has no live output" in said
    assert "logAPI.enabled=true" in said
    assert rest == "err\n"
    again = tenant_cli("logs", "-f", "unfollowed")
    assert (again.exit_code, again.stdout) == (0, "out\n")
    assert "this cluster has no live output" in again.stderr
