"""Both tokens changed while Executions run: none fails, and no pod restarts."""

import base64
import hashlib
import json
import secrets
import time

from tests.e2e.cluster import CONTROLLER_PODS, DEFAULT_PODS, SYSTEM_NAMESPACE, Tenant, Tools, condition, eventually

SECRET = "sandbox-executor-executor"
KEYS = ("internal-api-token", "execute-api-token")
FOLDER = "/var/run/secrets/sandbox-executor"
KUBELET_S = 300
"""A kubelet's sync comes each minute or so, and takes what its watch has by then."""

_DIGESTS = """
import hashlib, pathlib, sys
for path in sys.argv[1:]:
    print(hashlib.sha256(pathlib.Path(path).read_bytes().strip()).hexdigest())
"""
_ASK = """
import json, sys, urllib.error, urllib.request
request = urllib.request.Request("http://127.0.0.1:8080/executions", headers={"Authorization": "Bearer " + sys.stdin.read()})
try:
    print(urllib.request.urlopen(request).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""  # noqa: E501


def _tokens(tools: Tools) -> dict[str, str]:
    data = tools.get("secret", SECRET, SYSTEM_NAMESPACE)["data"]
    return {key: base64.b64decode(data[key]).decode() for key in KEYS}


def _pods(tools: Tools) -> dict[str, tuple[str, int]]:
    """Pod → its uid and how often its container has restarted."""
    return {
        pod["metadata"]["name"]: (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
        for selector in (CONTROLLER_PODS, DEFAULT_PODS)
        for pod in tools.pods(selector)
    }


def _ready(tools: Tools) -> set[str]:
    """Pods that are ready."""
    found = (pod for selector in (CONTROLLER_PODS, DEFAULT_PODS) for pod in tools.pods(selector))
    return {pod["metadata"]["name"] for pod in found if condition(pod["status"], "Ready").get("status") == "True"}


def _who_has(tools: Tools, tokens: dict[str, str]) -> dict[str, bool]:
    """Pod → whether its files hold these tokens."""
    wanted = [hashlib.sha256(tokens[key].encode()).hexdigest() for key in KEYS]
    return {
        name: tools.in_pod(name, "python3", "-c", _DIGESTS, *(f"{FOLDER}/{key}" for key in KEYS)).split() == wanted
        for selector in (CONTROLLER_PODS, DEFAULT_PODS)
        for name in (pod["metadata"]["name"] for pod in tools.pods(selector))
    }


def _answer(tools: Tools, pod: str, token: str) -> str:
    command = ("exec", "-i", "-n", SYSTEM_NAMESPACE, pod, "--", "python3", "-c", _ASK)
    return tools.kubectl(*command, stdin=token).strip()


def test_executions_go_on_while_both_tokens_are_rotated(tenant: Tenant) -> None:
    tools = tenant.tools
    before, old = _pods(tools), _tokens(tools)
    during = 0
    for attempt in range(3):  # a machine may be so busy that the tokens are there before anything has run
        new = {key: secrets.token_urlsafe(36) for key in KEYS}
        assert not any(_who_has(tools, new).values())
        patch = json.dumps({"stringData": new})
        tools.kubectl("patch", "secret", SECRET, "-n", SYSTEM_NAMESPACE, "--type=merge", "-p", patch)
        during += _run_until_all_have(tenant, new, f"during-{attempt}")
        if during:
            break
    for number in range(5):
        assert tenant.run(f"after-{number}", "def handler(event): return 1")["phase"] == "Succeeded"

    assert during, "there were Executions between the change and its arrival"
    assert _pods(tools) == before, "nothing was replaced or restarted"
    executor = tools.pods(DEFAULT_PODS)[0]["metadata"]["name"]
    assert _answer(tools, executor, new["execute-api-token"]) == "200"
    assert _answer(tools, executor, secrets.token_urlsafe(36)) == "401"
    assert old != new


def _run_until_all_have(tenant: Tenant, tokens: dict[str, str], name: str) -> int:
    """How many Executions ran while a pod was without these tokens; each succeeds, whoever has which by then."""
    done, deadline = 0, time.monotonic() + KUBELET_S
    while not all((seen := _who_has(tenant.tools, tokens)).values()):
        assert time.monotonic() < deadline, f"a kubelet has not written the new tokens: {seen}"
        assert tenant.run(f"{name}-{done}", "def handler(event): return 1")["phase"] == "Succeeded"
        done += 1
    return done


def test_a_new_pod_joins_after_a_rotation(tenant: Tenant) -> None:
    """It has only ever seen the new tokens, and so has a new controller."""
    tools = tenant.tools
    before = set(_pods(tools))
    for selector in (DEFAULT_PODS, CONTROLLER_PODS):
        name = tools.pods(selector)[0]["metadata"]["name"]
        tools.kubectl("delete", "pod", name, "-n", SYSTEM_NAMESPACE, "--wait=false", "--grace-period=1")
    eventually(lambda: len(_ready(tools) - before) == 2, timeout_s=240)
    eventually(lambda: tools.get("executorpool", "default")["status"].get("readyReplicas") == 2, timeout_s=240)
    assert tenant.run("joined", "def handler(event): return 1")["phase"] == "Succeeded"
