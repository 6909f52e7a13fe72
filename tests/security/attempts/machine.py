"""What belongs to the machine and is everybody's: clock, name, log, settings, memory, devices, whole file systems."""

import errno
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import calls, kernel_setting, leaked, printed

if TYPE_CHECKING:
    from tests.security.attempts.world import World

_ROOT: Final = ("seccomp", "unprivileged")
"""What the kernel keeps for the machine's own root, whatever a filter says."""
_MARKER: Final = "put-there-by-another-run"
_PATTERN: Final = "core-of-the-sandbox"
"""Like the default ``core``, were it ever set: a name, and no program to run."""

CLOCK: Final = (
    calls("clock_settime", "settimeofday")
    + """
import time
def handler(event):
    # to what it is: the kernel tells everyone who waits for the clock to be set (timerfd_create(2)).
    # Never through adjtimex(2): it writes the time into what the next call would take for an offset.
    def seconds_and(rest): return (ctypes.c_long * 2)(int(time.time()), int(time.time() % 1 * rest))
    tried(
        lambda: call("clock_settime", 0, seconds_and(1e9)),
        lambda: call("settimeofday", seconds_and(1e6), None),
    )
"""
)

SYSLOG: Final = (
    calls("syslog")
    + """
READ_ALL = 3
def handler(event):
    into = ctypes.create_string_buffer(1 << 20)
    size = call("syslog", READ_ALL, into, 1 << 20)
    return into.raw[:size].decode("latin-1")[-2000:]
"""
)

HOST_NAME: Final = """
hostname taken-over
echo taken-over > /proc/sys/kernel/hostname
sysctl -w kernel.hostname=taken-over
"""

ACCOUNTING: Final = (
    calls("acct")
    + """
def handler(event):
    open("/workspace/accounts", "w").close()
    call("acct", b"/workspace/accounts")
    for _ in range(3):
        if os.fork() == 0:
            os._exit(0)
        os.wait()
    tried(lambda: call("acct", None))
"""
)

REBOOT: Final = (
    calls("reboot")
    + """
RESTART = 0x01234567
def handler(event):
    if os.getppid() != 1:
        raise SystemExit("this is no sandbox: it would be the machine")
    call("reboot", 0xFEE1DEAD - (1 << 32), 672274793, RESTART, None)
    __import__("time").sleep(5)
"""
)

MODULES_AND_SWAP: Final = (
    calls("init_module", "finit_module", "delete_module", "swapon", "swapoff")
    + """
def handler(event):
    # each with an argument that is wrong: nothing happens, and the kernel says that it has looked at it
    with open("/workspace/image", "wb") as image:
        image.write(bytes(8192))
    opened = os.open("/workspace/image", os.O_RDONLY)
    tries = {
        "init_module": (bytes(100), 100, b""),
        "finit_module": (opened, b"", 0),
        "delete_module": (b"no-such-module", 0),
        "swapon": (b"/workspace/image", 0),
        "swapoff": (b"/workspace/image",),
    }
    found = {}
    for name, arguments in tries.items():
        try:
            found[name] = call(name, *arguments)
        except OSError as error:
            found[name] = error.errno
    return found
"""
)

SETTINGS: Final = """
cd /proc/sys/kernel || exit 0
echo PATTERN > core_pattern
echo PATTERN > /proc/self/root/proc/sys/kernel/core_pattern
mount -o remount,rw /proc/sys; echo PATTERN > core_pattern
sysctl -w kernel.core_pattern=PATTERN
echo h > /proc/sysrq-trigger
true
""".replace("PATTERN", _PATTERN)

KERNEL_MEMORY: Final = """
head -n 200 /proc/kallsyms
head -c 100 /proc/kcore /proc/kmsg /dev/mem /dev/kmsg
cat /proc/iomem /proc/vmallocinfo /proc/slabinfo /proc/timer_list | head -n 500
true
"""

SYS: Final = """
import os
def handler(event):
    found = {}
    for top in ("/sys", "/proc/self/root/sys", "/run", "/proc/bus", "/proc/acpi", "/sys/fs/cgroup"):
        for directory, _, names in os.walk(top):
            for name in names[:20]:
                try:
                    with open(os.path.join(directory, name), "rb") as file:
                        found[name] = file.read(200).hex()
                except OSError:
                    pass
            if len(found) > 500:
                break
    try:
        with open("/sys/kernel/notes", "rb") as file:
            return file.read().hex()
    except OSError as error:
        return error.strerror
"""

DEVICES: Final = (
    calls("mount")
    + """
import stat
NODES = {"kmsg": (1, 11), "mem": (1, 1), "disk": (254, 0), "disk-of-scsi": (8, 0), "disk-of-nvme": (259, 0)}
READ_ONLY_NONE = 0x20 | 0x1000
def look(path):
    # the first record of the kernel's log, or the magic number of a file system
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(opened, 8192)[:200].decode("latin-1")
    finally:
        os.close(opened)
def handler(event):
    found = []
    for directory in ("/tmp", "/workspace", "/dev/shm"):
        tried(lambda: call("mount", None, directory.encode(), None, READ_ONLY_NONE, None))
        for name, (major, minor) in NODES.items():
            path = f"{directory}/{name}"
            for kind in (stat.S_IFCHR, stat.S_IFBLK):
                tried(lambda: os.mknod(path, kind | 0o666, os.makedev(major, minor)))
                tried(lambda: found.append(look(path)))
                tried(lambda: os.unlink(path))
    for directory, _, names in os.walk("/dev"):
        for name in names:
            path = os.path.join(directory, name)
            if name not in ("zero", "full", "random", "urandom") and "watchdog" not in name:  # opened, it starts
                tried(lambda: found.append(look(path)))
    return found
"""
)

HANDLES: Final = (
    calls("name_to_handle_at", "open_by_handle_at")
    + """
ROOT_OF_EXT4 = struct.pack("IiII", 8, 1, 2, 0)
HERE = -100
def handler(event):
    # the root of the file system on which the workspace lies has a number that everybody knows
    found = []
    for directory in ("/workspace", "/usr"):
        below = os.open(directory, os.O_RDONLY)
        handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
        number = ctypes.c_int()
        tried(lambda: call("name_to_handle_at", HERE, directory.encode(), handle, ctypes.byref(number), 0))
        for candidate in (ROOT_OF_EXT4, handle.raw):
            def read():
                wanted = ctypes.create_string_buffer(candidate)
                top = call("open_by_handle_at", below, wanted, os.O_RDONLY | os.O_DIRECTORY)
                for path in (event["canary_path"], event["other_workspace_path"] + "/secret.txt"):
                    opened = os.open(path[1:], os.O_RDONLY, dir_fd=top)
                    found.append(os.read(opened, 100).decode())
            tried(read)
    return found
"""
)

READ_ONLY_MAPPINGS: Final = """
import ctypes, mmap, os
PATH, TEXT = "/usr/share/common-licenses/BSD", b"MARKER"
def handler(event):
    for flags in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
        opened = os.open(PATH, os.O_RDONLY)
        page = mmap.mmap(opened, mmap.PAGESIZE, flags=flags, prot=mmap.PROT_READ)
        with open("/proc/self/maps") as maps:
            at = next(int(line.split("-")[0], 16) for line in maps if PATH in line)
        for name in ("/proc/self/mem", "/proc/thread-self/mem", f"/proc/{os.getpid()}/task/{os.getpid()}/mem"):
            try:
                memory = os.open(name, os.O_RDWR)
                os.pwrite(memory, TEXT, at)
            except OSError:
                pass
        libc = ctypes.CDLL(None)
        libc.mprotect(ctypes.c_void_p(at), mmap.PAGESIZE, 3)
        libc.madvise(ctypes.c_void_p(at), mmap.PAGESIZE, 4)
    os.system("printf MARKER | dd of=/usr/share/common-licenses/BSD conv=notrunc 2>/dev/null")
    # a page of the file through a pipe, and the pipe written to (CVE-2022-0847)
    r, w = os.pipe()
    os.write(w, bytes(65536)), os.read(r, 65536)
    os.splice(os.open(PATH, os.O_RDONLY), w, 1, offset_src=0)
    os.write(w, TEXT)
""".replace("MARKER", _MARKER)


def _log_was_read(_world: "World", outcome: Outcome) -> bool:
    text = outcome.result["return_value"] or ""
    return any(line.startswith("<") and "] " in line for line in text.splitlines())


def _kernel_looked(_world: "World", outcome: Outcome) -> bool:
    return bool(set((outcome.result["return_value"] or {}).values()) - {errno.EPERM, errno.ENOSYS})


def _settings_changed(_world: "World", _outcome: Outcome) -> bool:
    return _PATTERN in Path("/proc/sys/kernel/core_pattern").read_text()


def _addresses_were_read(_world: "World", outcome: Outcome) -> bool:
    return bool(re.search(r"^(?!0{16})[0-9a-f]{16} [A-Za-z] \w", outcome.result["stdout"], re.MULTILINE))


def _notes_were_read(_world: "World", outcome: Outcome) -> bool:
    return bool(outcome.result["return_value"] == Path("/sys/kernel/notes").read_bytes().hex())


def _devices_were_read(_world: "World", outcome: Outcome) -> bool:
    found = outcome.result["return_value"] or ()
    return any(re.match(r"\d+,\d+,\d+,", text) for text in found)


def _is_ext4(path: str) -> bool:
    done = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True)
    return done.stdout.strip() == "ext2/ext3"


ATTEMPTS: Final = (
    Attempt(
        "machine/clock",
        "python",
        CLOCK,
        lambda world, _outcome: world.clock_was_set(),
        unproved="there is one clock, and it is this machine's",
    ),
    Attempt(
        "machine/log",
        "python",
        SYSLOG,
        _log_was_read,
        without=_ROOT if kernel_setting("kernel/dmesg_restrict") else ("seccomp",),
    ),
    Attempt(
        "machine/host-name",
        "shell",
        HOST_NAME,
        printed("taken-over"),
        without=(*_ROOT, "uts"),
        then=(Attempt("machine/host-name-seen", "shell", "uname -n", printed("taken-over")),),
    ),
    Attempt(
        "machine/accounting",
        "python",
        ACCOUNTING,
        lambda _world, outcome: bool(outcome.artifacts.get("accounts")),
        without=_ROOT,
    ),
    Attempt(
        "machine/reboot",
        "python",
        REBOOT,
        lambda _world, outcome: bool(outcome.result["reason"] == "SandboxError"),
        unproved="what went wrong in showing it would restart this machine",
    ),
    Attempt("machine/modules-and-swap", "python", MODULES_AND_SWAP, _kernel_looked, without=_ROOT),
    Attempt(
        "machine/settings",
        "shell",
        SETTINGS,
        _settings_changed,
        unproved="what it would set is this machine's",
    ),
    Attempt(
        "machine/kernel-memory",
        "shell",
        KERNEL_MEMORY,
        _addresses_were_read,
        **(
            {"without": ("unprivileged",)}
            if kernel_setting("kernel/kptr_restrict") < 2
            else {"unproved": "kernel.kptr_restrict hides addresses from root here, too"}
        ),
    ),
    Attempt("machine/sys", "python", SYS, _notes_were_read, without=("mount",)),
    Attempt("machine/devices", "python", DEVICES, _devices_were_read, without=("unprivileged", "seccomp")),
    Attempt(
        "machine/handles",
        "python",
        HANDLES,
        leaked("canary", "other_workspace"),
        **(
            {"without": ("unprivileged", "seccomp")}
            if _is_ext4("/tmp")
            else {"unproved": "the file system of /tmp is not one whose root's handle everybody knows"}
        ),
    ),
    Attempt(
        "machine/read-only-mappings",
        "python",
        READ_ONLY_MAPPINGS,
        lambda _world, outcome: bool(outcome.result["stdout"].startswith(_MARKER[:10])),
        unproved="it needs a hole in the kernel, such as CVE-2016-5195 or CVE-2022-0847",
        then=(
            Attempt(
                "machine/read-only-mappings-seen",
                "shell",
                "head -c 20 /usr/share/common-licenses/BSD",
                printed(_MARKER),
            ),
        ),
    ),
)
