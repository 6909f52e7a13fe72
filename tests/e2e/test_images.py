"""What is in the two images beside our programs: nothing that raises privileges, no caches, no network tools."""

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import SYSTEM_NAMESPACE, Object, Tools, eventually

_SCAN = """
import json, os, shutil, stat
raised, capable, writable, caches = [], [], [], []
CACHES = ("/var/lib/apt/lists", "/var/cache/apt", "/root/.cache", "/root/.npm", "/usr/local/lib/node_modules")
for top, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(top, name) not in ("/proc", "/sys", "/dev")]
    for name in files:
        path = os.path.join(top, name)
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            continue
        if found.st_mode & (stat.S_ISUID | stat.S_ISGID):
            raised.append(path)
        if found.st_mode & stat.S_IWOTH:
            writable.append(path)
        if "security.capability" in os.listxattr(path):
            capable.append(path)
for folder in CACHES:
    for top, _, files in os.walk(folder):
        caches += [os.path.join(top, name) for name in files if name != "lock"]
tools = "pip pip3 npm curl wget nc ncat ssh scp telnet git gcc cc g++ make gdb strace sudo docker kubectl"
print("SCAN " + json.dumps({
    "raised": raised, "capable": capable, "writable": writable, "caches": caches, "uid": os.getuid(),
    "tools": [tool for tool in tools.split() if shutil.which(tool, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:"
              "/usr/bin:/sbin:/bin:/opt/sandbox-executor/bin")],
}))
"""

Scan = Callable[[str, dict[str, Any]], Object]


@pytest.fixture
def scan(installed: Tools) -> Iterator[Scan]:
    """Runs the scan in a pod of an image; the security context is the caller's."""
    name = f"scan-{secrets.token_hex(4)}"

    def run(image: str, security: dict[str, Any]) -> Object:
        container = {"name": "scan", "image": image, "imagePullPolicy": "IfNotPresent", "securityContext": security}
        container["command"] = ["python3", "-c", _SCAN]
        spec = {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        installed.kubectl("create", "-n", SYSTEM_NAMESPACE, "-f", "-", stdin=yaml.safe_dump(pod))

        def ended() -> bool:
            return str(installed.get("pod", name, SYSTEM_NAMESPACE)["status"]["phase"]) in ("Succeeded", "Failed")

        eventually(ended, timeout_s=180, interval_s=0.5)
        logs = installed.kubectl("logs", "-n", SYSTEM_NAMESPACE, name)
        found: Object = json.loads(logs.partition("SCAN ")[2])
        return found

    yield run
    installed.kubectl("delete", "pod", name, "-n", SYSTEM_NAMESPACE, "--ignore-not-found", "--wait=false")


@pytest.fixture(params=["executor", "controller"])
def image(request: pytest.FixtureRequest) -> str:
    """Each of the two."""
    return str(request.config.getoption(f"--{request.param}-image"))


def test_no_file_of_an_image_raises_privileges_and_nothing_of_its_making_is_left(image: str, scan: Scan) -> None:
    found = scan(image, {"runAsUser": 0})
    assert found["uid"] == 0, "root sees every file"
    assert found["raised"] == []
    assert found["capable"] == []
    assert found["writable"] == []
    assert found["caches"] == []


def test_the_scan_would_find_a_setuid_file(image: str, scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    made = "import os; open('/tmp/raised', 'w').close(); os.chmod('/tmp/raised', 0o4755)\n"
    monkeypatch.setattr("tests.e2e.test_images._SCAN", made + _SCAN)
    assert scan(image, {"runAsUser": 0})["raised"] == ["/tmp/raised"]


def test_an_image_runs_as_nobody_special_by_itself_and_brings_no_tools(image: str, scan: Scan) -> None:
    """``runAsNonRoot`` without a user: the kubelet takes the image's own."""
    found = scan(image, {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}})
    assert found["uid"] == 1000
    assert found["tools"] == []
