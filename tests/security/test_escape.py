"""What user code must not reach, tried from inside (the seed's T043, T044, T047, T048, T101)."""

import os
from pathlib import Path

import pytest

from tests.security.conftest import Driver

pytestmark = pytest.mark.sandbox

TRIES = """
def attempt(do):
    try:
        return repr(do())
    except OSError as error:
        return error.__class__.__name__ + " " + str(error.errno)
"""
CALL = """
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    ctypes.set_errno(0)
    return (getattr(libc, name)(*arguments), ctypes.get_errno())
"""


def test_host_files_cannot_be_reached(driver: Driver, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host")
    paths = ["/etc/passwd", "/etc/shadow", "/root", "/home", "/var/run", "/sys/kernel", str(secret), str(driver.root)]
    run = driver.run(
        TRIES + "import os\ndef handler(event): return [attempt(lambda: os.stat(path)) for path in event]", event=paths
    )
    assert run.result["return_value"] == ["FileNotFoundError 2"] * len(paths)


def test_the_root_holds_only_what_the_design_names(full: Driver) -> None:
    run = full.run("import os\ndef handler(event): return sorted(os.listdir('/'))")
    merged = {name for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32") if Path("/", name).is_symlink()}
    alternatives = {"etc"} if Path("/etc/alternatives").is_dir() else set()
    assert set(run.result["return_value"]) == {"usr", "dev", "proc", "tmp", "workspace"} | merged | alternatives


def test_of_etc_there_is_nothing_but_the_alternatives(driver: Driver) -> None:
    run = driver.run("import os\ndef handler(event): return os.listdir('/etc') if os.path.exists('/etc') else []")
    assert run.result["return_value"] == (["alternatives"] if Path("/etc/alternatives").is_dir() else [])


def test_the_network_cannot_be_reached(driver: Driver) -> None:
    run = driver.run(
        TRIES
        + """
import socket
def handler(event):
    return [
        attempt(lambda: socket.create_connection(("192.0.2.1", 80), 2)),
        attempt(lambda: socket.create_connection(("127.0.0.1", 22), 2)),
        attempt(lambda: socket.create_connection(("169.254.169.254", 80), 2)),
        attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        attempt(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)),
        attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    ]
"""
    )
    assert run.result["return_value"] == [
        "OSError 101",
        "ConnectionRefusedError 111",
        "OSError 101",
        *["PermissionError 1"] * 3,
    ]


def test_only_its_own_processes_can_be_seen(full: Driver) -> None:
    run = full.run(
        "import os\ndef handler(event): return [os.getpid(), [n for n in os.listdir('/proc') if n.isdigit()]]"
    )
    pid, seen = run.result["return_value"]
    assert set(seen) == {"1", str(pid)}


def test_reduced_mounts_no_proc_at_all(reduced: Driver) -> None:
    assert reduced.run("import os\ndef handler(event): return os.path.exists('/proc')").result["return_value"] is False


def test_the_executors_token_is_nowhere_inside(full: Driver) -> None:
    run = full.run(
        TRIES
        + """
import os
def read(path):
    with open(path, "rb") as file: return file.read()
def handler(event):
    files = [f"/proc/{pid}/{name}" for pid in os.listdir("/proc") if pid.isdigit() for name in ("environ", "cmdline")]
    return [attempt(lambda: read(path)) for path in files]
"""
    )
    assert run.result["status"] == "success"
    assert "token-of-the-executor" not in str(run.result)


def test_process_1_gives_nothing_away(full: Driver) -> None:
    run = full.run(
        TRIES
        + """
import os
def handler(event):
    return [attempt(lambda: open("/proc/1/" + name, "rb")) for name in ("environ", "mem", "maps")] + [
        attempt(lambda: os.listdir("/proc/1/fd"))
    ]
"""
    )
    assert run.result["return_value"] == ["PermissionError 13"] * 4


def test_user_code_is_root_nowhere(full: Driver) -> None:
    run = full.run(
        """
import os
def handler(event):
    return [os.getresuid(), os.getresgid(), open('/proc/self/uid_map').read().split()]
"""
    )
    uids, gids, uid_map = run.result["return_value"]
    assert uids == gids == [1000] * 3
    assert uid_map[0] == "1000"
    assert uid_map[2] == "1"
    assert full.uid != 0


def test_the_uid_outside_is_the_executors(driver: Driver) -> None:
    owner: list[int] = []
    driver.run("open('made', 'w').close()", session="owner")
    for path in (driver.root / "workspaces").glob("session-*/made"):
        owner.append(path.stat().st_uid)
    assert owner == [driver.uid]
    assert driver.uid != 0


def test_privileges_are_gone_for_good(full: Driver) -> None:
    status = full.run(
        "def handler(event): return dict(l.split(':\\t') for l in open('/proc/self/status').read().splitlines())"
    )
    seen = status.result["return_value"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(seen[name], 16) == 0, name
    assert seen["NoNewPrivs"] == "1"
    assert seen["Seccomp"] == "2"


def test_namespaces_and_mounts_are_refused(driver: Driver) -> None:
    run = driver.run(
        CALL
        + """
def handler(event):
    flags = [0x10000000, 0x20000, 0x20000000, 0x40000000, 0x02000000]
    return {
        "unshare": [call("unshare", flag) for flag in flags],
        "setns": [call("setns", 0, 0)],
        "mount": [call("mount", b"none", b"/tmp", b"tmpfs", 0, None)],
        "umount": [call("umount2", b"/tmp", 2)],
        "chroot": [call("chroot", b"/tmp")],
        "sethostname": [call("sethostname", b"x", 1)],
    }
"""
    )
    for name, results in run.result["return_value"].items():
        assert all(result == [-1, 1] for result in results), name


def test_clone_and_clone3_make_no_namespace(driver: Driver) -> None:
    run = driver.run(
        CALL
        + """
CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]
def handler(event):
    args = (ctypes.c_uint64 * 11)(0x10000000, *[0] * 10)
    return [call("syscall", CLONE, 0x10000000 | 17, 0, 0, 0, 0), call("syscall", 435, args, 88)]
"""
    )
    assert run.result["return_value"] == [[-1, 1], [-1, 38]]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("ptrace", {"x86_64": 101, "aarch64": 117}),
        ("keyctl", {"x86_64": 250, "aarch64": 219}),
        ("add_key", {"x86_64": 248, "aarch64": 217}),
        ("bpf", {"x86_64": 321, "aarch64": 280}),
        ("perf_event_open", {"x86_64": 298, "aarch64": 241}),
        ("userfaultfd", {"x86_64": 323, "aarch64": 282}),
        ("process_vm_readv", {"x86_64": 310, "aarch64": 270}),
        ("process_vm_writev", {"x86_64": 311, "aarch64": 271}),
        ("io_uring_setup", {"x86_64": 425, "aarch64": 425}),
        ("open_by_handle_at", {"x86_64": 304, "aarch64": 265}),
        ("kexec_load", {"x86_64": 246, "aarch64": 104}),
        ("open_tree", {"x86_64": 428, "aarch64": 428}),
        ("open_tree_attr", {"x86_64": 467, "aarch64": 467}),
        ("personality", {"x86_64": 135, "aarch64": 92}),
    ],
)
def test_a_dangerous_call_is_refused(full: Driver, name: str, number: dict[str, int]) -> None:
    value = number[os.uname().machine]
    run = full.run(CALL + f"def handler(event): return call('syscall', {value}, 0x40000, 0, 0, 0, 0)")
    assert run.result["return_value"] == [-1, 1], name


def test_terminals_cannot_be_typed_into(full: Driver) -> None:
    run = full.run(
        TRIES
        + """
import fcntl, os
def handler(event):
    leader, follower = os.openpty()
    return [attempt(lambda: fcntl.ioctl(follower, request, b"x")) for request in (0x5412, 0x541C)]
"""
    )
    assert run.result["return_value"] == ["PermissionError 1"] * 2


if os.uname().machine == "x86_64":

    def test_a_second_abi_is_death(full: Driver) -> None:
        """x32 numbers are those of x86_64 with one bit set: a filter that forgets them can be walked around."""
        run = full.run(CALL + "def handler(event): return call('syscall', 0x40000000 | 39)")
        assert run.result["reason"] == "Signaled"
        assert run.signal == 31


def test_what_is_mounted_cannot_be_written(driver: Driver) -> None:
    paths = ["/usr/x", "/x", "/dev/x", "/bin/x", "/usr/lib/python3/x"]
    if Path("/etc/alternatives").is_dir():
        paths += ["/etc/x", "/etc/alternatives/x"]
    run = driver.run(
        TRIES + "def handler(event): return [attempt(lambda: open(path, 'w')) for path in event]", event=paths
    )
    assert run.result["return_value"] == ["OSError 30"] * len(paths)


@pytest.mark.parametrize("directory", ["/tmp", "/dev/shm"])
def test_memory_file_systems_are_bounded(full: Driver, directory: str) -> None:
    run = full.run(
        TRIES
        + """
import os
def fill(path):
    with open(path + "/x", "wb") as file:
        for _ in range(128): file.write(bytes(1 << 20))
def handler(event):
    return [attempt(lambda: fill(event)), os.path.getsize(event + "/x") >> 20]
""",
        event=directory,
    )
    error, size_mib = run.result["return_value"]
    assert error == "OSError 28"
    assert 60 <= size_mib <= 64


def test_no_descriptor_of_ours_is_inherited(driver: Driver) -> None:
    run = driver.run(
        """
import os
def is_open(number):
    try: os.fstat(number)
    except OSError: return False
    return True
def handler(event): return [n for n in range(4096) if is_open(n)]
"""
    )
    assert run.result["return_value"] == [0, 1, 2, 3]


def test_a_subprocess_inherits_only_its_streams(full: Driver) -> None:
    run = full.run(
        """
import subprocess
def handler(event):
    listed = subprocess.run(['ls', '/proc/self/fd'], close_fds=False, capture_output=True, text=True)
    return listed.stdout.split()
"""
    )
    assert run.result["return_value"] == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_the_environment_is_the_documented_one(driver: Driver) -> None:
    code = """
import os, subprocess
def handler(event):
    told = subprocess.run(['env'], capture_output=True, text=True).stdout
    return [dict(os.environ), told.splitlines()]
"""
    inside, told = driver.run(code, env={"NAME": "value", "LANG": "C"}).result["return_value"]
    assert inside == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "LANG": "C",
        "NAME": "value",
    }
    assert sorted(told) == sorted(f"{name}={value}" for name, value in inside.items())


def test_nothing_of_a_request_is_on_a_command_line(full: Driver) -> None:
    run = full.run(
        "def handler(event): return open('/proc/1/cmdline', 'rb').read().decode()",
        stdin="stdin-secret",
        env={"SECRET": "env-secret"},
        event={"key": "event-secret"},
    )
    command_line = run.result["return_value"]
    assert "python3" in command_line
    assert "secret" not in command_line
    assert "handler" not in command_line


def test_a_link_in_the_workspace_leads_no_mount_outside(driver: Driver, tmp_path: Path) -> None:
    """CVE-2026-87766: what a session's earlier run left must not steer the next one's mounts."""
    tmp_path.chmod(0o777)
    code = "import os\nfor name in ('tmp', 'proc', 'dev', 'usr', 'workspace', 'run', 'x'): os.symlink(TARGET, name)"
    driver.run(f"TARGET = {str(tmp_path)!r}\n{code}", session="links")
    second = driver.run("def handler(event): return 1", session="links")
    assert second.result["status"] == "success"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", ["link", "directory"])
def test_a_workspace_that_was_exchanged_is_refused(full: Driver, by: str) -> None:
    run = full.run("open('written', 'w').close()", exchanged_by=by)
    assert run.error.startswith("WorkspaceError: workspace test-")
    assert not list((full.root / "workspaces").rglob("written"))


def test_process_1_refuses_a_bind_that_it_was_not_told_of(full: Driver) -> None:
    """The second look, from inside: between the executor's look and the mount there is a moment."""
    run = full.run("open('written', 'w').close()", exchanged_by="lie")
    assert run.ending == "failed"
    assert run.result["reason"] == "SandboxError"
    assert "/workspace is not the directory that the executor made" in run.failure
    assert not list((full.root / "workspaces").rglob("written"))


def test_a_process_1_that_has_ended_before_the_executor_looks_costs_no_fork_server(full: Driver) -> None:
    """It was forked; whoever takes it for one that was not doubts a server that has done nothing wrong."""
    bound = "import resource\ndef handler(event): return resource.getrlimit(resource.RLIMIT_NPROC)[0]"
    forked = full.run(bound, session="forked").result["return_value"]
    run = full.run("", exchanged_by="lie", stand_still_s=1.5)
    assert run.ending == "failed"
    # Where bwrap starts process 1, there is no holder to count.
    assert full.run(bound, session="forked").result["return_value"] == forked == 130
