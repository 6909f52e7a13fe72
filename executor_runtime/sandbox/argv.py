"""The bubblewrap command line, as a pure function of what was probed and of one start's descriptors.

bubblewrap before 0.12 makes mount destinations through symlinks (CVE-2026-87766): a link that user code
left in a bind would lead a mount below it outside. So no destination lies below ``/workspace`` or ``/tmp``;
a property test holds that. Nothing of a request is in the command line, which user code and
everyone on the host can read.
"""

from dataclasses import dataclass
from typing import Final

from contracts.executor_api import IsolationLevel

WORKSPACE: Final = "/workspace"
TMP: Final = "/tmp"
SHM: Final = "/dev/shm"
USR: Final = "/usr"
ALTERNATIVES: Final = "/etc/alternatives"
"""Links into /usr, by which Debian chooses between programs of one name: without them awk and others are not found."""
SANDBOX_ID: Final = "1000"
"""uid and gid that user code sees; on the host they are the executor's own."""

BOOTSTRAP: Final = "import marshal;f=open({fd},'rb');n={{'__name__':'init'}};exec(marshal.load(f),n);n['main'](f)"


@dataclass(frozen=True)
class Start:
    """What differs between starts. Descriptor numbers are those that bwrap inherits."""

    level: IsolationLevel
    bwrap: str
    interpreter: str
    workspace: str
    tmp_bytes: int
    links: tuple[tuple[str, str], ...]
    alternatives: bool
    job_fd: int
    seccomp_fd: int
    info_fd: int


def build_argv(start: Start) -> list[str]:
    """The whole command line (bwrap(1)). Order matters: mounts are made one after the other."""
    return [
        start.bwrap,
        *_namespaces(start),
        *_mounts(start),
        *("--seccomp", str(start.seccomp_fd)),
        *("--info-fd", str(start.info_fd)),
        "--",
        *(start.interpreter, "-I", "-S", "-c", BOOTSTRAP.format(fd=start.job_fd)),
    ]


def build_holder_argv(start: Start) -> list[str]:
    """The same for bwrap that waits for a filter which never comes whole, on its standard input (``fork_server``).

    The program is never started.
    """
    options = [start.bwrap, *_namespaces(start), *_mounts(start)]
    return [*options, "--seccomp", "0", "--info-fd", str(start.info_fd), "--", "/usr/bin/true"]


def _namespaces(start: Start) -> list[str]:
    options = ["--unshare-all", "--unshare-user", "--uid", SANDBOX_ID, "--gid", SANDBOX_ID, "--hostname", "sandbox"]
    if start.level == "full":
        options.append("--disable-userns")
    # As process 1 our init is what dies when the run ends, and the kernel ends its namespace with it.
    options += ["--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    # Without a locale of UTF-8 an isolated interpreter would decode as ASCII.
    return [*options, "--clearenv", "--setenv", "LANG", "C.UTF-8"]


def _mounts(start: Start) -> list[str]:
    size = str(start.tmp_bytes)
    options = ["--ro-bind", USR, USR]
    for path, target in start.links:
        options += ["--symlink", target, path]
    if start.alternatives:
        options += ["--ro-bind", ALTERNATIVES, ALTERNATIVES]
    options += ["--dev", "/dev", "--size", size, "--tmpfs", SHM, "--remount-ro", "/dev"]
    if start.level == "full":
        options += ["--proc", "/proc"]
    options += ["--size", size, "--perms", "1777", "--tmpfs", TMP]
    options += ["--bind", start.workspace, WORKSPACE, "--chdir", WORKSPACE]
    # The root is a tmpfs without a size that belongs to the user: writable, it would be memory without a bound.
    return [*options, "--remount-ro", "/"]
