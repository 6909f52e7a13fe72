"""Under the node's seccomp profile bubblewrap builds sandboxes at full strength, languages run, and attacks fail."""

import subprocess
import sys
from pathlib import Path

import pyseccomp
import pytest

from deploy.seccomp.profile import SANDBOX_BUILDING

pytestmark = pytest.mark.sandbox

REPOSITORY = Path(__file__).resolve().parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"

FULL_SANDBOX = [
    "bwrap",
    "--unshare-all",
    "--unshare-user",
    "--disable-userns",
    "--hostname",
    "sandbox",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/sbin",
    "/sbin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--chdir",
    "/tmp",
    "--new-session",
    "--die-with-parent",
    "--cap-drop",
    "ALL",
    "--clearenv",
    "--",
]

PYTHON_SMOKE = """
import asyncio, multiprocessing, socket, sqlite3, ssl, subprocess, tempfile, threading
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
async def echo():
    process = await asyncio.create_subprocess_exec("/bin/echo", "hi", stdout=subprocess.PIPE)
    return (await process.communicate())[0]
assert asyncio.run(echo()) == b"hi\\n"
with tempfile.NamedTemporaryFile() as file, sqlite3.connect(file.name) as database:
    database.execute("create table t (x)")
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
ssl.create_default_context()
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
print("seccomp", status["Seccomp"].strip(), "caps", int(status["CapEff"], 16))
"""

NODE_SMOKE = """
const { Worker } = require("worker_threads"), { execFileSync } = require("child_process"), fs = require("fs");
fs.writeFileSync("/tmp/x", "1");
const server = require("http").createServer((_, response) => response.end("served")).listen(0, "127.0.0.1", () =>
  require("http").get({ port: server.address().port, host: "127.0.0.1" }, (response) => {
    response.resume().on("end", () => server.close());
    new Worker("require('worker_threads').parentPort.postMessage('worker')", { eval: true })
      .on("message", (word) => console.log(word, execFileSync("/bin/echo", ["child"]).toString().trim()));
  }));
"""

SHELL_SMOKE = (
    'set -euo pipefail; echo one two | while read -r a b; do echo "$b $a"; done; x=$(seq 3 | tail -1); echo "$x"'
)


def run(*command: str, confined: bool = True) -> subprocess.CompletedProcess[str]:
    prefix = [sys.executable, "-m", "tests.security.under_profile"] if confined else []
    return subprocess.run([*prefix, *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=200)


SMOKES = {
    "python": ((SYSTEM_PYTHON, "-I", "-c", PYTHON_SMOKE), "seccomp 2 caps 0\n"),
    "javascript": (("/usr/bin/node", "-e", NODE_SMOKE), "worker child\n"),
    "shell": (("/bin/bash", "-c", SHELL_SMOKE), "two one\n3\n"),
}
INSTALLED = [name for name, (command, _) in SMOKES.items() if Path(command[0]).exists()]
"""Python and bash always are; Node.js comes with the executor's support for it."""


@pytest.mark.parametrize("language", INSTALLED)
def test_full_sandbox_runs_each_language(language: str) -> None:
    command, output = SMOKES[language]
    ended = run(*FULL_SANDBOX, *command)
    assert (ended.stdout, ended.stderr, ended.returncode) == (output, "", 0)


@pytest.mark.parametrize("name", sorted(set(SANDBOX_BUILDING) - {"clone", "setns"}))
def test_bubblewrap_needs_each_extra_call(name: str) -> None:
    """So none is allowed without need; clone is what threads start with, too."""
    ended = run("--without", name, *FULL_SANDBOX, "/bin/true")
    assert ended.returncode == 1
    assert ended.stderr.startswith("bwrap:")


def test_process_1_can_be_forked_under_the_profile_and_not_without_setns() -> None:
    start = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from tests.security.forked import main; main()"
    command = (sys.executable, "-c", start)
    assert run(*command).stdout == "\n"
    assert "setns: Operation not permitted" in run("--without", "setns", *command).stdout


ATTACKS = {
    "keyctl": "0, -3, 0",
    "ptrace": "0, 0, 0, 0",
    "process_vm_readv": "os.getpid(), 0, 0, 0, 0, 0",
    "name_to_handle_at": "-100, 0, 0, 0, 0",
}
"""Calls that an unprivileged process could make (or make fail for want of better arguments), and arguments."""


@pytest.mark.parametrize("name", ATTACKS)
def test_refused_call_fails_only_because_of_the_profile(name: str) -> None:
    number = pyseccomp.resolve_syscall(pyseccomp.system_arch(), name)
    code = f"import ctypes, os; c = ctypes.CDLL(None, use_errno=True); c.syscall({number}, {ATTACKS[name]})"
    command = (SYSTEM_PYTHON, "-I", "-c", f"{code}; print(os.strerror(ctypes.get_errno()))")
    assert run(*command).stdout == "Operation not permitted\n"
    assert run(*command, confined=False).stdout not in ("Operation not permitted\n", "")


def test_namespace_of_its_own_gives_no_raw_sockets_or_firewall() -> None:
    """A user namespace grants CAP_NET_ADMIN in it, which opens large parts of the kernel but for the profile."""
    code = """
import socket
for family, protocol in ((socket.AF_PACKET, 0), (socket.AF_NETLINK, 12), (38, 0), (40, 0)):
    try:
        socket.socket(family, socket.SOCK_RAW, protocol)
    except PermissionError:
        print("refused")
"""
    ended = run("/usr/bin/unshare", "--user", "--map-root-user", "--net", SYSTEM_PYTHON, "-I", "-c", code)
    assert (ended.stdout, ended.stderr) == ("refused\n" * 4, "")
