"""Ways to take one prerequisite away from an executor: commands that run their last arguments (``test_sabotage``)."""

import json
import os
import shutil
import sys
from pathlib import Path

OUTER = ["bwrap", "--unshare-user", "--unshare-pid", "--dev-bind", "/", "/", "--proc", "/proc"]
"""A sandbox around everything, in which an inner one works as it does outside."""

_REFUSE = """
import errno, json, os, sys, pyseccomp
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
for name, error, mask in json.loads(sys.argv[1]):
    arguments = [pyseccomp.Arg(0, pyseccomp.MASKED_EQ, mask, mask)] if mask else []
    rules.add_rule(pyseccomp.ERRNO(getattr(errno, error)), name, *arguments)
rules.load()
os.execvp(sys.argv[2], sys.argv[2:])
"""
_WRAPPER = """#!{python} -ISE
import os, struct, sys
end = sys.argv.index("--")
argv, command = sys.argv[1:end], sys.argv[end:]
def replace(old, new):
    at = [number for number in range(len(argv)) if argv[number:number + len(old)] == old]
    assert at, (old, argv)
    argv[at[0]:at[0] + len(old)] = new
def values_of(option, count):
    at = argv.index(option)
    return argv[at:at + 1 + count]
{change}
os.execv({bwrap!r}, ["bwrap", *argv, *command])
"""
NAMESPACES = ("ipc", "pid", "net", "uts", "cgroup")


def refusing(*calls: tuple[str, str, int]) -> list[str]:
    """As the seccomp profile of a pod: (call, the error that it ends with, bits of its first argument or 0)."""
    return [sys.executable, "-c", _REFUSE, json.dumps(calls)]


def with_path(directory: Path) -> list[str]:
    """A PATH of one directory."""
    return ["/usr/bin/env", f"PATH={directory}"]


def with_wrapper(tools: Path, change: str) -> list[str]:
    """A bwrap that changes its ``argv`` (a list, without the command) before it does what it is told."""
    real = shutil.which("bwrap")
    assert real is not None
    text = _WRAPPER.format(python=os.path.realpath(sys.executable), change=change, bwrap=real)
    return with_bwrap(tools, text)


def with_bwrap(tools: Path, text: str, mode: int = 0o755) -> list[str]:
    """A script in bwrap's place."""
    path = tools / "bwrap"
    path.write_text(text)
    path.chmod(mode)
    return with_path(tools)


def drop(*option: str) -> str:
    """A change of ``with_wrapper``: this option and its values are left out."""
    return f"replace({list(option)}, [])"


def drop_with_values(option: str, count: int) -> str:
    """The same for one whose values differ from start to start."""
    return f"replace(values_of({option!r}, {count}), [])"


def keep_shared(shared: str) -> str:
    """All namespaces are new but this one."""
    return f"replace(['--unshare-all'], {[f'--unshare-{name}' for name in NAMESPACES if name != shared]})"


def without_system_python(replacement: str = "") -> list[str]:
    """No ``python3`` where the executor looks for one; ``replacement`` stands in its place."""
    real, bwrap = os.path.realpath(sys.executable), shutil.which("bwrap")
    assert bwrap is not None
    command = [*OUTER]
    for directory in ("/usr/bin", "/usr/local/bin"):
        command += ["--tmpfs", directory]
    for path in (real, os.path.realpath(bwrap)):
        command += ["--ro-bind", path, path]
    return [*command, *(["--ro-bind", replacement, "/usr/bin/python3"] if replacement else [])]
