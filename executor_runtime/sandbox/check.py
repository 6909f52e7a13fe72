"""Runs once inside a sandbox at start, in place of process 1: is it as strong as its level says?

Each thing that bwrap was told to do is looked at by its effect, so that an option that has none, whatever the
reason, is noticed. ``probe`` puts a call of ``main`` behind this text, and itself compares the namespaces, which cannot
be told apart from inside.
"""

import ctypes
import errno
import json
import marshal
import os
import signal
import site
import socket
import subprocess
import sys
from typing import Any

PR_GET_PDEATHSIG, PR_GET_SECCOMP, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 2, 21, 23, 39, 47
CAPABILITIES = 64  # more than any kernel has
TIOCSTI = 0x5412
TMP_BYTES = 1 << 20  # that ``probe`` asks for
DIRECTORIES = {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "dev", "proc", "tmp", "workspace"}
DEVICES = {
    *("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm"),
    *("core", "fd", "stdin", "stdout", "stderr"),
}
libc = ctypes.CDLL(None, use_errno=True)


def capability_sets() -> list[int]:
    """Effective, permitted and inheritable (capget(2), version 3), bounding, ambient: one bit a capability."""
    data = (ctypes.c_uint32 * 6)()
    libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), data)
    bounding = sum((libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1) << number for number in range(CAPABILITIES))
    ambient = sum((libc.prctl(PR_CAP_AMBIENT, 1, number, 0, 0) == 1) << number for number in range(CAPABILITIES))
    return [*(data[index] | data[index + 3] << 32 for index in range(3)), bounding, ambient]


def signal_of_parents_end() -> int:
    """What ``--die-with-parent`` sets (prctl(2))."""
    number = ctypes.c_int()
    libc.prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
    return number.value


def answers_of_the_filter() -> dict[str, str]:
    """Call → the error that it ends with. None of them needs a privilege, nor does any harm where no filter is."""
    calls: dict[str, tuple[Any, ...]] = {
        "unshare": (0,),
        "personality": (0x40000,),  # no address randomisation for what it starts; the flag that does least
        "ptrace": (2, 0, None, None),
        "process_vm_readv": (os.getpid(), None, 0, None, 0, 0),
        "vmsplice": (-1, None, 0, 0),
        "name_to_handle_at": (-1, b"", None, None, 0),
        "socket": (socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "ioctl": (0, TIOCSTI, b"x"),
    }
    found = {name: error_of(getattr(libc, name), *arguments) for name, arguments in calls.items()}
    # Calls from 424 on have the same number everywhere.
    numbers = {"io_uring_setup": 425, "clone3": 435}
    return {**found, **{name: error_of(libc.syscall, number, 0, 0) for name, number in numbers.items()}}


def error_of(call: Any, *arguments: Any) -> str:
    """The error's name, or ``allowed``."""
    ctypes.set_errno(0)
    return errno.errorcode.get(ctypes.get_errno(), "unknown") if call(*arguments) == -1 else "allowed"


def can_write(path: str) -> bool:
    """Whether a file can be made there."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    except OSError:
        return False
    return True


def is_read_only(path: str) -> bool:
    """Whether its mount is, whoever may write to what is mounted."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def size_of(path: str) -> int:
    """Bytes that its file system can hold."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize


def reach_out() -> int:
    """errno of a route lookup to a documentation address (RFC 5737); nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        return outward.connect_ex(("192.0.2.1", 9))


def names_in(path: str) -> set[str]:
    """What a directory holds; nothing when it is not there."""
    return set(os.listdir(path)) if os.path.isdir(path) else set()


def find_wrong(level: str) -> dict[str, Any]:
    """Name → what was seen, for each thing that is not as promised."""
    seen: dict[str, tuple[Any, Any]] = {
        "own pid": (os.getpid(), 1),
        "own session": (os.getsid(0), 1),
        "own user and group": ({*os.getresuid(), *os.getresgid()}, {1000}),
        "host name": (os.uname().nodename, "sandbox"),
        "signal when bwrap ends": (signal_of_parents_end(), signal.SIGKILL),
        "seccomp mode": (libc.prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2),
        "no_new_privs": (libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1),
        "capabilities": (capability_sets(), [0] * 5),
        "result of reaching out": (reach_out(), errno.ENETUNREACH),
        "environment": ({name: os.environ[name] for name in os.environ if name != "PWD"}, {"LANG": "C.UTF-8"}),
        "working directory": (os.getcwd(), "/workspace"),
        "rest of /": (names_in("/") - DIRECTORIES, set()),
        "rest of /etc": (names_in("/etc") - {"alternatives"}, set()),
        "rest of /dev": (names_in("/dev") - DEVICES, set()),
        "processes": (set(filter(str.isdigit, names_in("/proc"))), {"1"} if level == "full" else set()),
    }
    for name, answer in answers_of_the_filter().items():
        seen[f"answer to {name}"] = (answer, "ENOSYS" if name == "clone3" else "EPERM")
    for path in filter(os.path.exists, ("/", "/usr", "/dev", "/etc/alternatives")):
        seen[f"read-only mount at {path}"] = (is_read_only(path), True)
    for path, wanted in {"/": False, "/usr": False, "/dev": False, "/workspace": True, "/tmp": True}.items():
        seen[f"writable {path}"] = (can_write(f"{path}/probe"), wanted)
    for path in ("/tmp", "/dev/shm"):
        seen[f"size of {path}"] = (size_of(path), TMP_BYTES)
    if level == "full" and os.path.exists("/proc/self/uid_map"):  # else the list of processes says that it is not there
        with open("/proc/self/uid_map") as file:
            seen["number of mapped uids"] = (sum(int(line.split()[2]) for line in file), 1)
    return {name: got for name, (got, wanted) in seen.items() if got != wanted}


def find_namespaces() -> dict[str, str]:
    """Name → the link that says which it is; nothing where there is no /proc."""
    names = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in names if os.path.exists(f"/proc/self/ns/{name}")}


def find_interpreters(candidates: dict[str, list[str]]) -> dict[str, str]:
    """Language → the first of its candidates that starts here."""
    return {language: path for language, paths in candidates.items() if (path := next(filter(starts, paths), ""))}


def starts(path: str) -> bool:
    """Whether the interpreter can tell its version; on a node on which everything starts at once that takes seconds."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=20).returncode == 0  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False


def main(level: str, init_source: str, candidates: dict[str, list[str]]) -> None:
    """Prints one JSON object: ``wrong``, what is not as it must be, and what starts need from inside.

    That is ``init_code``, ``init.py`` compiled, ``python_path``, where a ``python3 -I`` imports from,
    ``interpreters`` of the other languages, and ``namespaces``.
    """
    site.main()
    init_code = marshal.dumps(compile(init_source, "<sandbox>", "exec", dont_inherit=True, optimize=2))
    wrong = {name: sorted(got) if isinstance(got, set) else got for name, got in find_wrong(level).items()}
    found = {"wrong": wrong, "init_code": init_code.hex(), "python_path": sys.path, "namespaces": find_namespaces()}
    print(json.dumps({**found, "interpreters": find_interpreters(candidates)}))
