"""What an Execution may bring along, and what happens when it is not there or not allowed."""

from tests.e2e.cluster import CommandFailed, Tenant, condition, eventually, execution

CODE = "import os\ndef handler(event):\n    return os.environ.get('COLOUR')\n"


def test_javascript_and_shell_return_values_by_markers(tenant: Tenant) -> None:
    marker = "===SANDBOX_RESULT==="
    javascript = f"console.log('hi'); console.log('{marker}' + JSON.stringify({{sum: 1 + 1}}) + '{marker}')"
    shell = f'read line; echo "got $line"; echo \'{marker}{{"ok": true}}{marker}\'; exit 0'
    tenant.create("js", javascript, language="javascript")
    status = tenant.run("sh", shell, language="shell", stdin="a line\n")
    assert (status["phase"], status["stdout"], status["returnValue"]) == ("Succeeded", "got a line\n", {"ok": True})
    status = tenant.finished("js")
    assert (status["phase"], status["stdout"], status["returnValue"]) == ("Succeeded", "hi\n", {"sum": 2})


def test_code_comes_from_a_config_map_and_values_from_the_spec(tenant: Tenant) -> None:
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "programs"},
        "data": {"colour.py": CODE},
    }
    wanted = execution("from-map", "", env=[{"name": "COLOUR", "value": "red"}])
    del wanted["spec"]["code"]
    wanted["spec"]["codeFrom"] = {"configMapKeyRef": {"name": "programs", "key": "colour.py"}}
    tenant.apply(config_map, wanted)
    assert tenant.finished("from-map")["returnValue"] == "red"


def test_files_from_the_spec_and_a_config_map_lie_in_the_workspace(tenant: Tenant) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tables"}, "data": {"a.csv": "1;2"}}
    files = [
        {"path": "in/a.csv", "configMapKeyRef": {"name": "tables", "key": "a.csv"}},
        {"path": "in/raw.bin", "inlineBase64": "/wA="},
        {"path": "greeting", "inline": "hello\n"},
    ]
    code = "cat greeting in/a.csv; wc -c < in/raw.bin; echo made > made.txt"
    tenant.apply(config_map, execution("with-files", code, language="shell", files=files))
    status = tenant.finished("with-files")
    assert (status["phase"], status["stdout"]) == ("Succeeded", "hello\n1;22\n"), status
    assert [artifact["path"] for artifact in status["artifacts"]] == ["made.txt"]
    secret = [{"path": "key", "secretKeyRef": {"name": "db", "key": "password"}}]
    status = tenant.run("file-from-secret", CODE, files=secret)
    assert condition(status, "Finished")["reason"] == "SecretsNotAllowed"


def test_a_config_map_that_is_not_there_rejects_with_what_to_do(tenant: Tenant) -> None:
    wanted = execution("no-map", "")
    del wanted["spec"]["code"]
    wanted["spec"]["codeFrom"] = {"configMapKeyRef": {"name": "none", "key": "x"}}
    tenant.apply(wanted)
    status = tenant.finished("no-map")
    assert status["phase"] == "Rejected"
    assert condition(status, "Finished")["reason"] == "ConfigMapNotFound"
    assert "create it" in status["error"]["solution"]


def test_a_secret_is_refused_where_the_chart_does_not_allow_it(tenant: Tenant) -> None:
    reference = {"secretKeyRef": {"name": "db", "key": "password"}}
    status = tenant.run("secret", CODE, env=[{"name": "COLOUR", "valueFrom": reference}])
    assert status["phase"] == "Rejected"
    assert condition(status, "Finished")["reason"] == "SecretsNotAllowed"


def test_memory_over_the_limit_fails_the_execution_and_not_the_pod(tenant: Tenant) -> None:
    greedy = (
        "def handler(event):\n    held = [bytearray(1 << 20) for _ in range(400)]\n    import time; time.sleep(5)\n"
    )
    status = tenant.run("greedy", greedy, resources={"memory": "64Mi"})
    assert status["phase"] == "Failed", status
    assert tenant.run("beside", CODE)["phase"] == "Succeeded"


def test_a_finished_execution_is_deleted_after_its_ttl(tenant: Tenant) -> None:
    tenant.create("brief", CODE, ttlSecondsAfterFinished=1)

    def gone() -> bool:
        try:
            tenant.get("brief")
        except CommandFailed as error:
            return "not found" in str(error)
        return False

    eventually(gone)


def test_the_same_execution_id_runs_once(tenant: Tenant) -> None:
    name = "exec_20260115_e2e" + tenant.namespace[-5:]
    assert tenant.run("first", CODE, executionId=name)["phase"] == "Succeeded"
    status = tenant.run("second", CODE, executionId=name)
    assert status["phase"] == "Rejected"
    assert condition(status, "Finished")["reason"] == "DuplicateExecutionId"
