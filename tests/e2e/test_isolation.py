"""The executor pod and the sandbox in it, looked at from outside and from inside."""

import base64
import hashlib
import json

from tests.e2e.cluster import DEFAULT_PODS, SYSTEM_NAMESPACE, Tenant, Tools


def test_the_executor_pod_is_unprivileged(installed: Tools) -> None:
    spec = installed.pods(DEFAULT_PODS)[0]["spec"]
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert spec["hostUsers"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["seccompProfile"]["type"] == "Localhost"
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsNonRoot"]) == (1000, True)
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume or "projected" in volume]


_LOOK = """
import json, os, urllib.request
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def writable(path):
    try:
        open(path, "w").close()
        return True
    except OSError:
        return False
print(json.dumps({
    "uid": os.getuid(), "caps": status["CapEff"], "bounding": status["CapBnd"], "seccomp": status["Seccomp"],
    "no_new_privs": status["NoNewPrivs"], "uid_map": open("/proc/self/uid_map").read().split(),
    "root_writable": writable("/x"), "usr_writable": writable("/usr/x"),
    "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "health": json.load(urllib.request.urlopen("http://127.0.0.1:8080/health")),
}))
"""


def test_the_executor_runs_without_privileges_and_reports_full_isolation(installed: Tools) -> None:
    for pod in installed.pods(DEFAULT_PODS):
        seen = json.loads(installed.in_pod(pod["metadata"]["name"], "python3", "-c", _LOOK))
        assert seen["uid"] == 1000
        assert int(seen["caps"], 16) == 0
        assert int(seen["bounding"], 16) == 0
        assert seen["seccomp"] == "2"
        assert seen["no_new_privs"] == "1"
        assert seen["uid_map"][:2] != ["0", "0"], "root in the pod is not root on the node"
        assert seen["root_writable"] is False
        assert seen["usr_writable"] is False
        assert seen["token"] is False
        assert seen["health"]["isolation"] == "full"


_ESCAPE = """
import glob, hashlib, os, socket
def attempt(action):
    try:
        return repr(action())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
def connect(address):
    with socket.create_connection(address, timeout=2):
        return "connected"
def digests():
    found = []
    for top, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(top, name) not in ("/usr", "/proc", "/sys", "/dev")]
        for name in files:
            try:
                found.append(hashlib.sha256(open(os.path.join(top, name), "rb").read(4096).strip()).hexdigest())
            except OSError:
                pass
    return found
def handler(event):
    readable = {}
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        try:
            readable[path] = open(path, "rb").read().decode("utf-8", "replace")
        except OSError as error:
            readable[path] = ""
    return {
        "passwd": attempt(lambda: open("/etc/passwd").read()),
        "secrets": attempt(lambda: os.listdir("/var/run/secrets")),
        "digests": digests(),
        "api": attempt(lambda: connect((event["api"], 443))),
        "executor": attempt(lambda: connect(("127.0.0.1", 8080))),
        "pod": attempt(lambda: connect((event["pod"], 8080))),
        "dns": attempt(lambda: socket.getaddrinfo("kubernetes.default.svc", 443)),
        "processes": readable,
        "pids": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
        "environ": dict(os.environ),
        "caps": [line for line in open("/proc/self/status") if line.startswith("CapEff")][0].split()[1],
        "usr": attempt(lambda: open("/usr/x", "w")),
    }
"""


def _token_digests(tools: Tools) -> set[str]:
    secrets = tools.items("secrets", SYSTEM_NAMESPACE)
    values = [base64.b64decode(value) for secret in secrets for value in secret.get("data", {}).values()]
    return {hashlib.sha256(value.strip()).hexdigest() for value in values}


def test_from_inside_the_sandbox_nothing_of_the_pod_can_be_reached(tenant: Tenant) -> None:
    pods = tenant.tools.pods(DEFAULT_PODS)
    api = tenant.tools.get("service", "kubernetes", "default")["spec"]["clusterIP"]
    event = {"api": api, "pod": pods[0]["status"]["podIP"]}
    status = tenant.run("escape", _ESCAPE, event=event)
    assert status["phase"] == "Succeeded", status
    seen = status["returnValue"]

    assert seen["passwd"].startswith("FileNotFoundError")
    assert seen["secrets"].startswith("FileNotFoundError")
    assert not _token_digests(tenant.tools) & set(seen["digests"]), "the executor's tokens are in no file"
    for target in ("api", "executor", "pod", "dns"):
        assert "Error" in seen[target] or "gaierror" in seen[target], (target, seen[target])
        assert "connected" not in seen[target]
    assert len(seen["pids"]) <= 3, "only the sandbox's own processes"
    for path, text in seen["processes"].items():
        assert "TOKEN" not in text, path
        assert "executor_runtime" not in text, path
    assert int(seen["caps"], 16) == 0
    assert "Error" in seen["usr"]
    assert not [name for name in seen["environ"] if "TOKEN" in name or "CONTROL_PLANE" in name or "SERVICE" in name]
