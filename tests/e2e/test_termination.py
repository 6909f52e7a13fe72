"""Each way in which an executor's container ends, for real: status, Events and what the Control Plane hears.

What makes Kubernetes end one is in ``test_causes``.
"""

from tests.e2e.cluster import SYSTEM_NAMESPACE, Tenant, condition, eventually, execution
from tests.e2e.conftest import InNode
from tests.e2e.control_plane import ControlPlane
from tests.e2e.victims import WAITS, Victim, await_running, leave, make_pool

_TIGHT = "192Mi"
"""Enough for all that wait, and not for what they print."""
_PRINTERS = 8
_PRINTS_MUCH = """
import os, sys, time
def handler(event):
    while not os.path.exists('go'):
        time.sleep(0.05)
    for stream in (sys.stdout, sys.stderr):
        for _ in range(11):
            stream.write('x' * 1_048_575 + chr(10))
        stream.flush()
    time.sleep(200)
"""
_MAKE_EXIT = r"""
my ($pid, $code) = @ARGV;
my @fields = ('running');
while ($fields[0] !~ /^\d+$/) {
    open(my $where, '<', "/proc/$pid/syscall") or die $!;
    @fields = split ' ', <$where>;
}
open(my $memory, '+<', "/proc/$pid/mem") or die $!;
sysseek($memory, hex($fields[-1]), 0) or die $!;
syswrite($memory, pack('H*', $code)) == length($code) / 2 or die $!;
"""
_EXIT_0 = {"x86_64": "b8e700000031ff0f05", "aarch64": "c80b80d2000080d2010000d4"}
"""Machine code of ``exit_group(0)``."""
_APPENDS = """
def handler(event):
    with open('log', 'a+') as file:
        file.write(str(event))
        file.seek(0)
        return file.read()
"""


def _executor_pid(victim: Victim, in_node: InNode) -> int:
    """Of the executor's process, in the node."""
    uid = victim.pod_uid
    script = (
        "for p in /proc/[0-9]*; do "
        f"grep -qE '{uid}|{uid.replace('-', '_')}' $p/cgroup 2>/dev/null || continue; "
        "tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^python -P -m executor_runtime $' && echo ${p#/proc/}; "
        "done; true"
    )

    def find() -> str:
        pids = in_node(victim.node, "sh", "-c", script).split()
        return pids[0] if len(pids) == 1 else ""  # for a moment a child of it has the same command line

    return int(eventually(find))


def _signal(victim: Victim, in_node: InNode, name: str) -> None:
    """From the node, as its kernel or its administrator would."""
    in_node(victim.node, "kill", f"-{name}", str(_executor_pid(victim, in_node)))


def test_a_killed_executor(tenant: Tenant, in_node: InNode, control_plane: ControlPlane) -> None:
    victim = Victim(tenant, "killed")
    _signal(victim, in_node, "KILL")
    victim.crashed("ContainerKilled", victim.pod, "137")
    victim.heard(control_plane, 137, "sigkill")


def test_an_executor_that_breaks(tenant: Tenant, in_node: InNode, control_plane: ControlPlane) -> None:
    victim = Victim(tenant, "broken")
    _signal(victim, in_node, "ABRT")
    victim.crashed("ExecutorError", victim.pod, "134")
    victim.heard(control_plane, 134, "error")


def test_an_executor_that_is_terminated(tenant: Tenant, in_node: InNode, control_plane: ControlPlane) -> None:
    victim = Victim(tenant, "terminated")
    _signal(victim, in_node, "TERM")
    victim.crashed("PodTerminated", "may have run in part")
    victim.heard(control_plane, 143, "sigterm")


def test_an_executor_that_ends_by_itself(tenant: Tenant, in_node: InNode, control_plane: ControlPlane) -> None:
    """With exit code 0, which it never does while anything runs: ``exit_group(0)`` is written where it waits."""
    victim = Victim(tenant, "ended")
    code = _EXIT_0[in_node(victim.node, "uname", "-m").strip()]
    in_node(victim.node, "perl", "-e", _MAKE_EXIT, str(_executor_pid(victim, in_node)), code)
    victim.crashed("ExecutorExited", victim.pod, "by itself")
    victim.heard(control_plane, 0, "normal")


def test_a_pod_that_is_removed_by_force(tenant: Tenant, control_plane: ControlPlane) -> None:
    victim = Victim(tenant, "vanished")
    words = ("delete", "pod", victim.pod, "-n", SYSTEM_NAMESPACE, "--force", "--grace-period=0")
    tenant.tools.kubectl(*words)
    victim.crashed("ExecutorLost", victim.pod, "by force")
    victim.heard(control_plane, -1, "error")


def test_an_executor_that_runs_out_of_memory(tenant: Tenant, pool_name: str, control_plane: ControlPlane) -> None:
    """Its cgroup's limit is reached by what the executor itself keeps of the streams; user code stays small."""
    limits = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": _TIGHT}}
    make_pool(tenant.tools, pool_name, concurrency=16, resources=limits)
    victim = Victim(tenant, "bystander", pool=pool_name)
    printers = [f"prints-{number}" for number in range(_PRINTERS)]
    tenant.apply(*(execution(name, _PRINTS_MUCH, pool=pool_name, timeoutSeconds=300) for name in printers))
    leave(tenant.tools, "go", *(await_running(tenant, name) for name in printers))
    message = condition(victim.crashed("OutOfMemory", victim.pod, "ran out of memory"), "Finished")["message"]
    assert "event_type" not in message, "nothing of the log's records"
    victim.heard(control_plane, 137, "oom_killed")
    tenant.finished(*printers)
    assert {condition(tenant.status(name), "Finished")["reason"] for name in printers} == {"OutOfMemory"}
    assert tenant.run("next", "def handler(event): return 1", pool=pool_name)["phase"] == "Succeeded"


def test_an_infrastructure_failure_is_repeated_when_that_is_asked_for(tenant: Tenant, in_node: InNode) -> None:
    victim = Victim(tenant, "again", code=WAITS, maxRetries=1)
    _signal(victim, in_node, "KILL")
    leave(tenant.tools, "go", await_running(tenant, "again", attempt=2))
    ended = tenant.finished("again", timeout_s=120)
    assert (ended["phase"], ended["attempt"], ended["returnValue"]) == ("Succeeded", 2, "done")
    eventually(lambda: "Retrying" in [event["reason"] for event in tenant.tools.items("events", tenant.namespace)])


def test_a_session_keeps_its_files_and_its_order(tenant: Tenant) -> None:
    for number in range(4):
        tenant.create(f"step-{number}", _APPENDS, event=number, sessionId="notebook")
    ended = [tenant.finished(f"step-{number}") for number in range(4)]
    assert [one["returnValue"] for one in ended] == ["0", "01", "012", "0123"]
    assert len({one["podName"] for one in ended}) == 1
    other = tenant.run("other", "import os\ndef handler(event): return os.listdir('.')", sessionId="another")
    assert other["returnValue"] == []
