"""The AppArmor profile: what pods ask for, what the parser says to it, and how the installer loads it on a node."""

import hashlib
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.chart.conftest import CHART, Manifest, Render, Rendered

PROGRAM = CHART / "files" / "load_apparmor.py"
PROFILE = (CHART / "files" / "executor-apparmor.profile").read_text()
NAME = f"sandbox-executor-{hashlib.sha256(PROFILE.encode()).hexdigest()[:12]}"
INSTALLER = "sandbox-executor-apparmor-installer"
ON = ('appArmorProfile.type="Localhost"', "appArmorProfile.installer.enabled=true")
PARSER = "/usr/sbin/apparmor_parser"


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return runpy.run_path(str(PROGRAM))


def asked_for(chart: Rendered) -> str:
    (container,) = chart.one("Deployment", "sandbox-executor-controller")["spec"]["template"]["spec"]["containers"]
    return str(next(item["value"] for item in container["env"] if item["name"] == "APPARMOR_PROFILE"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), "Unconfined"),
        (('appArmorProfile.type=""',), ""),
        (('appArmorProfile.type="RuntimeDefault"',), "RuntimeDefault"),
        (('appArmorProfile.type="Localhost"', 'appArmorProfile.localhostProfile="mine"'), "Localhost/mine"),
        (ON, f"Localhost/{NAME}"),
    ],
)
def test_executor_pods_ask_for_what_the_values_say(render: Render, values: tuple[str, ...], expected: str) -> None:
    assert asked_for(render(*values)) == expected


def test_nothing_is_loaded_on_nodes_unless_asked_for(chart: Rendered) -> None:
    assert [daemon["metadata"]["name"] for daemon in chart.all("DaemonSet")] == ["sandbox-executor-seccomp-installer"]


def test_the_installer_loads_the_profile_under_the_name_that_pods_ask_for(render: Render) -> None:
    chart = render(*ON)
    text = chart.one("ConfigMap", INSTALLER)["data"]["executor.profile"]
    assert text == PROFILE.replace("profile sandbox-executor ", f"profile {NAME} ")
    assert text.count(NAME) == 1


def installer_pod(render: Render) -> Manifest:
    pod: Manifest = render(*ON).one("DaemonSet", INSTALLER)["spec"]["template"]["spec"]
    return pod


def test_the_installer_has_one_capability_and_two_folders_of_the_node(render: Render) -> None:
    pod = installer_pod(render)
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["MAC_ADMIN"]},
    }
    assert {volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume} == {
        "/usr",
        "/sys/kernel/security",
    }
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts["/node/usr"] is True
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_the_installer_gets_no_network(render: Render) -> None:
    policy = render(*ON).one("NetworkPolicy", INSTALLER)["spec"]
    labels = render(*ON).one("DaemonSet", INSTALLER)["spec"]["template"]["metadata"]["labels"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()


def parse(text: str) -> subprocess.CompletedProcess[str]:
    """What apparmor_parser says to a profile, without a kernel that has AppArmor."""
    return subprocess.run([PARSER, "-QK"], input=text, capture_output=True, text=True, timeout=200, check=False)


def test_the_parser_of_this_machine_takes_the_profile_as_the_installer_fits_it(program: dict[str, Any]) -> None:
    command = program["parser_command"](Path("/usr"))
    fitted = program["fit"](PROFILE, command)
    assert parse(fitted).returncode == 0
    left_out = set(PROFILE.splitlines()) - set(fitted.splitlines())
    assert left_out <= {"  userns,"}


def test_a_profile_with_a_mistake_is_not_taken(program: dict[str, Any]) -> None:
    broken = PROFILE.replace("umount,", "unmountt,")
    assert parse(broken).returncode != 0
    with pytest.raises(program["CannotLoad"], match="refuses the profile"):
        program["fit"](broken, program["parser_command"](Path("/usr")))


@pytest.mark.parametrize("rule", ["userns", "mount", "umount", "pivot_root", "capability", "file"])
def test_the_profile_has_what_bubblewrap_needs(rule: str) -> None:
    assert f"\n  {rule},\n" in PROFILE


class Node:
    """A node's ``/usr`` and securityfs, with a parser that does as a kernel would."""

    def __init__(self, folder: Path) -> None:
        self.usr, self.securityfs = folder / "usr", folder / "securityfs"
        self.profiles = self.securityfs / "apparmor" / "profiles"
        self.profiles.parent.mkdir(parents=True)
        self.profiles.write_text("cri-containerd.apparmor.d (enforce)\n")
        (self.usr / "lib64").mkdir(parents=True)
        (self.usr / "sbin").mkdir()
        (self.usr / "sbin" / "apparmor_parser").touch()
        loader = self.usr / "lib64" / "ld-linux-x86-64.so.2"
        loader.write_text(f"#!{sys.executable}\nPROFILES = {str(self.profiles)!r}\n{_LOADER}")
        loader.chmod(0o755)


_LOADER = """
# Stands for the dynamic loader, which is handed the parser: that it is started so is what is looked at.
import re, sys
assert sys.argv[1] == "--library-path" and sys.argv[3].endswith("/sbin/apparmor_parser")
text = sys.stdin.read()
if "broken" in text:
    sys.exit("syntax error")
if "--replace" in sys.argv:
    with open(PROFILES, "a") as file:
        print(re.findall(r"^profile (\\S+)", text, re.M)[0] + " (enforce)", file=file)
"""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


Load = Callable[[str, Path, Path], str]


@pytest.fixture
def load(program: dict[str, Any]) -> Load:
    function: Load = program["load"]
    return function


def test_a_missing_profile_is_loaded_once(load: Load, node: Node) -> None:
    assert load(PROFILE, node.usr, node.securityfs) == "loaded sandbox-executor"
    assert load(PROFILE, node.usr, node.securityfs) == ""
    assert node.profiles.read_text().count("sandbox-executor (enforce)") == 1


def test_a_profile_that_a_restart_of_the_node_has_taken_is_loaded_again(load: Load, node: Node) -> None:
    load(PROFILE, node.usr, node.securityfs)
    node.profiles.write_text("")
    assert load(PROFILE, node.usr, node.securityfs) == "loaded sandbox-executor"


def test_a_node_without_apparmor_is_left_alone(load: Load, node: Node) -> None:
    shutil.rmtree(node.securityfs / "apparmor")
    assert "nothing to load" in load(PROFILE, node.usr, node.securityfs)


def test_a_node_without_a_parser_is_told_which_package_it_lacks(
    load: Load, node: Node, program: dict[str, Any]
) -> None:
    (node.usr / "sbin" / "apparmor_parser").unlink()
    with pytest.raises(program["CannotLoad"], match="install its package apparmor"):
        load(PROFILE, node.usr, node.securityfs)


def test_what_the_parser_refuses_is_told(load: Load, node: Node, program: dict[str, Any]) -> None:
    with pytest.raises(program["CannotLoad"], match="syntax error"):
        load(PROFILE + "broken", node.usr, node.securityfs)


def test_the_program_says_that_it_is_ready_and_ends_on_a_signal(node: Node, tmp_path: Path) -> None:
    profile, ready = tmp_path / "executor.profile", tmp_path / "ready"
    profile.write_text(PROFILE)
    command = [sys.executable, "-I", "-S", str(PROGRAM), *map(str, (profile, node.usr, node.securityfs, ready))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "loaded sandbox-executor\n"
            process.terminate()
            assert process.wait(timeout=60) == 0
            assert ready.exists()
        finally:
            process.kill()
