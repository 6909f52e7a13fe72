"""What does not work inside by design: the rows of the table in ``docs/executor.md``, and a program that shows each."""

from dataclasses import dataclass

from contracts.executor_api import IsolationLevel, Language
from tests.security.library.javascript import DONE

CALL = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def error_of(name, *arguments):
    return errno.errorcode.get(ctypes.get_errno()) if getattr(libc, name)(*arguments) == -1 else "it works"
"""


@dataclass(frozen=True)
class Missing:
    """One thing that programs elsewhere can do."""

    row: str
    """The first column of the table, as it is written there."""
    language: Language
    code: str
    says: str
    """Part of what the program prints, on either stream."""
    works_at: tuple[IsolationLevel, ...] = ()


def _calls(row: str, expected: str, *calls: str) -> Missing:
    code = f"{CALL}\ndef handler(event): print([error_of(*call) for call in [{', '.join(calls)}]])"
    return Missing(row, "python", code, str([expected] * len(calls)))


ACCOUNTS, NAMES, INTERFACES = "accounts", "names", "network interfaces, ping, raw packets"
TRACING, PROC, LINKS = "other processes' memory", "`/proc`", "`/dev/fd`, `/dev/stdin`, `/dev/stdout`, `<(…)`"

MISSING = [
    Missing(ACCOUNTS, "shell", "id -un; su -c true", "cannot find name for user ID 1000"),
    Missing(ACCOUNTS, "python", "import pwd\ndef handler(event): pwd.getpwuid(1000)", "uid not found: 1000"),
    Missing(ACCOUNTS, "javascript", "require('os').userInfo()", "uv_os_get_passwd"),
    Missing(NAMES, "python", "import socket\ndef handler(event): socket.gethostbyname('localhost')", "gaierror"),
    Missing(NAMES, "javascript", "require('net').connect(80, 'localhost')", "EAI_AGAIN localhost"),
    Missing(INTERFACES, "javascript", "require('os').networkInterfaces()", "uv_interface_addresses"),
    Missing(INTERFACES, "python", "import socket\ndef handler(event): socket.if_nameindex()", "PermissionError"),
    Missing(
        INTERFACES,
        "python",
        "import socket\ndef handler(event): socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)",
        "PermissionError",
    ),
    _calls(
        TRACING,
        "EPERM",
        '("ptrace", 0, 0, 0, 0)',
        '("process_vm_readv", os.getppid(), None, 0, None, 0, 0)',
        '("ptrace", 16, os.getppid(), 0, 0)',
    ),
    _calls(
        "namespaces, mounts, chroot",
        "EPERM",
        '("unshare", 0x10000000)',
        '("mount", None, b"/tmp", b"tmpfs", 0, None)',
        '("chroot", b"/tmp")',
        '("setns", 0, 0)',
    ),
    _calls("io_uring", "EPERM", '("syscall", 425, 1, None)'),
    _calls("fanotify", "EPERM", '("fanotify_init", 0, 0)'),
    _calls("inotify", "EPERM", '("inotify_init1", 0)', '("fcntl", 0, 1026, 4)'),
    Missing("inotify", "javascript", "require('fs').watch('.')", "EPERM: operation not permitted, watch"),
    _calls(
        "System V shared memory, semaphores, queues",
        "EPERM",
        '("shmget", 0, 4096, 0o1600)',
        '("semget", 7, 1, 0o1600)',
        '("msgget", 0, 0o1600)',
    ),
    _calls("memory files", "EPERM", '("memfd_create", b"x", 0)'),
    _calls("vmsplice", "EPERM", '("vmsplice", 1, None, 0, 0)'),
    _calls("fallocate", "ENOTSUP", '("fallocate", os.open("f", os.O_RDWR | os.O_CREAT), 0, *[ctypes.c_long(9)] * 2)'),
    _calls(
        "SCTP, MPTCP and other protocols, kernel TLS",
        "EPERM",
        '("socket", 2, 1, 132)',
        '("socket", 2, 1, 262)',
        '("setsockopt", libc.socket(2, 1, 0), 6, 31, b"tls", 4)',
    ),
    _calls("personality", "EPERM", '("personality", 0x40000)', '("personality", -1)'),
    _calls("clocks, host name", "EPERM", '("clock_settime", 0, bytes(16))', '("sethostname", b"x", 1)'),
    _calls("locked memory", "EPERM", '("mlock", ctypes.create_string_buffer(10), 10)', '("mlockall", 1)'),
    _calls("POSIX message queues", "EMFILE", '("mq_open", b"/name", os.O_CREAT | os.O_RDWR, 0o600, None)'),
    Missing("core dumps", "shell", "ulimit -c unlimited", "cannot modify limit"),
    Missing(
        "a default certificate store",
        "python",
        "import ssl\ndef handler(event): print(ssl.create_default_context().cert_store_stats()['x509_ca'], 'known')",
        "0 known",
    ),
    Missing(PROC, "shell", "ps", "proc", ("full",)),
    Missing(PROC, "javascript", "process.memoryUsage()", "uv_resident_set_memory", ("full",)),
    Missing(PROC, "javascript", f"{DONE}done(require('os').cpus().length > 0, true)", "AssertionError", ("full",)),
    Missing(LINKS, "shell", "cat <(echo x)", "/dev/fd/63: No such file", ("full",)),
    Missing(LINKS, "shell", "echo x | cat /dev/stdin", "/dev/stdin: No such file", ("full",)),
    Missing(LINKS, "shell", "echo x >/dev/stdout", "/dev/stdout: No such file", ("full",)),
]
