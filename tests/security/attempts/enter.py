"""The door of a stage: ``python -m tests.security.attempts.enter LEVEL PLACE WHOSE`` becomes ``inside``, in there.

``WHOSE`` is ``user``: an unprivileged one, with a user namespace of its own as in a pod; or ``root``: the
machine's, for the attempts that nobody else can make.
"""

import os
import sys
from pathlib import Path
from typing import Final

from executor_runtime.privileges import drop_or_refuse
from tests.security.attempts.terminal import open_inheritable

_ROOT: Final = Path(__file__).resolve().parents[3]
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_OF_ROOT: Final = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "KILL", "SETGID", "SETUID", "SETPCAP", "MKNOD"),
    *("NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW", "SYS_ADMIN", "SYS_CHROOT", "SYS_PACCT", "SYS_PTRACE", "SYSLOG"),
    *("BPF", "PERFMON"),
)
"""Without those by which a mistake in an attempt would set the clock, restart the machine, load code into its kernel
or write to its memory: namespaces do not hold any of that."""
_OF_USER: Final = ("NET_ADMIN", "NET_BIND_SERVICE", "CHECKPOINT_RESTORE")
"""What it takes to set the stage; given up before anything is started on it."""


def main() -> None:
    """Leaves what the test has, and goes in."""
    level, place, whose = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if whose == "user":
        drop_or_refuse([place])
    command = [sys.executable, "-m", "tests.security.attempts.inside", *sys.argv[1:], *map(str, open_inheritable())]
    os.execvp("bwrap", ["bwrap", *_namespaces(whose), *_mounts(level, place), *_capabilities(whose), "--", *command])


def _namespaces(whose: str) -> list[str]:
    options = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--as-pid-1"]
    return ["--unshare-user", *options] if whose == "user" else options


def _mounts(level: str, place: Path) -> list[str]:
    """Everything is read-only but memory and ``place``.

    A /proc that is covered in part is what container runtimes give: level ``full`` cannot be had there.
    """
    options = ["--ro-bind", "/", "/", "--tmpfs", "/dev"]
    for name in _DEVICES:
        options += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    options += ["--dir", "/dev/shm", "--proc", "/proc", "--tmpfs", "/tmp"]
    if level == "reduced":
        options += ["--tmpfs", "/proc/fs"]
    for path in (_ROOT, Path(sys.prefix)):
        if path.is_relative_to("/tmp"):
            options += ["--ro-bind", str(path), str(path)]
    return [*options, "--bind", str(place), str(place), "--setenv", "TMPDIR", "/tmp"]


def _capabilities(whose: str) -> list[str]:
    names = _OF_USER if whose == "user" else _OF_ROOT
    return [option for name in names for option in ("--cap-add", f"CAP_{name}")]


if __name__ == "__main__":
    main()
