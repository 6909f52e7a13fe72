"""Runs once inside a sandbox at start, in place of process 1: is it as strong as its level says?

``probe`` puts a call of ``main`` behind this text.
"""

import ctypes
import errno
import json
import marshal
import os
import site
import socket
import subprocess
import sys
from typing import Any

PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS, PR_CAPBSET_READ = 21, 39, 23
CLONE_NEWUSER = 0x10000000
libc = ctypes.CDLL(None, use_errno=True)


def effective_capabilities() -> int:
    """capget(2), version 3."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    return data[0] | data[3]


def can_write(path: str) -> bool:
    """Whether a file can be made there."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    except OSError:
        return False
    return True


def list_directory(path: str) -> list[str]:
    """What it holds; nothing when it does not exist."""
    return os.listdir(path) if os.path.isdir(path) else []


def reach_out() -> int:
    """errno of a route lookup to a documentation address (RFC 5737); nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        return outward.connect_ex(("192.0.2.1", 9))


def find_wrong(level: str) -> dict[str, Any]:
    """Name → what was seen, for each thing that is not as promised."""
    seen: dict[str, tuple[Any, Any]] = {
        "own pid": (os.getpid(), 1),
        "seccomp mode": (libc.prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2),
        "no_new_privs": (libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1),
        "capabilities": (effective_capabilities(), 0),
        "unshare's result": (libc.unshare(CLONE_NEWUSER), -1),
        "result of reaching out": (reach_out(), errno.ENETUNREACH),
        "writable /usr": (can_write("/usr/probe"), False),
        "writable /": (can_write("/probe"), False),
        "writable /workspace": (can_write("/workspace/probe"), True),
        "rest of /etc": ([name for name in list_directory("/etc") if name != "alternatives"], []),
        "list of processes": (
            [name for name in list_directory("/proc") if name.isdigit()],
            ["1"] if level == "full" else [],
        ),
    }
    if level == "full":
        with open("/proc/self/uid_map") as file:
            seen["number of mapped uids"] = (sum(int(line.split()[2]) for line in file), 1)
    return {name: got for name, (got, wanted) in seen.items() if got != wanted}


def find_interpreters(candidates: dict[str, list[str]]) -> dict[str, str]:
    """Language → the first of its candidates that starts here."""
    return {language: path for language, paths in candidates.items() if (path := next(filter(starts, paths), ""))}


def starts(path: str) -> bool:
    """Whether the interpreter can tell its version."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=5).returncode == 0  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False


def main(level: str, init_source: str, candidates: dict[str, list[str]]) -> None:
    """Prints one JSON object: ``wrong``, what is not as it must be, and what starts need from inside.

    That is ``init_code``, ``init.py`` compiled, ``python_path``, where a ``python3 -I`` imports from, and
    ``interpreters`` of the other languages.
    """
    site.main()
    init_code = marshal.dumps(compile(init_source, "<sandbox>", "exec", dont_inherit=True, optimize=2))
    found = {"wrong": find_wrong(level), "init_code": init_code.hex(), "python_path": sys.path}
    print(json.dumps({**found, "interpreters": find_interpreters(candidates)}))
