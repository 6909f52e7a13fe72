"""Bombs of memory and disk: more than the run was given, held for longer than a moment, wherever it may be kept."""

from typing import TYPE_CHECKING, Final

from tests.security.attempts.effects import HELD, held
from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import EVENT, FACTS, calls, returned_any_of

if TYPE_CHECKING:
    from tests.security.attempts.world import World

MIB: Final = 2**20
_TIMEOUT_S: Final = 60
_SMALL: Final = {"limits": {"memory_bytes": 64 * MIB}, "timeout": _TIMEOUT_S}
_DISK: Final = {"limits": {"workspace_bytes": 10 * MIB}, "timeout": _TIMEOUT_S}

_HOLD: Final = f"""
import os, time
MIB = {MIB}
def hold(event):
    # Longer than a moment: what is to be ended is ended long before, how busy the machine may be.
    time.sleep(event["hold_s"])
    print("{HELD}", flush=True)
"""

MEMORY_ONE: Final = (
    _HOLD
    + """
def handler(event):
    kept = [os.urandom(MIB) * 4 for _ in range(50)]
    hold(event)
"""
)

MEMORY_NODE: Final = (
    EVENT
    + f"""
const kept = []
for (let number = 0; number < 50; number++) kept.push(Buffer.alloc(4 * {MIB}, number + 1))
setTimeout(() => console.log(kept.length === 50 ? '{HELD}' : ''), 1000 * event.hold_s)
"""
)

MEMORY_TREE: Final = (
    _HOLD
    + """
def handler(event):
    for _ in range(8):
        if os.fork() == 0:
            kept = os.urandom(MIB) * 25
            time.sleep(event["hold_s"] + 1)
            os._exit(0)
    hold(event)
"""
)

MEMORY_SHELL: Final = (
    FACTS
    + f"""
fill() {{ head -c 25000000 /dev/zero | tr '\\0' x; }}
for _ in 1 2 3 4 5 6; do (kept=$(fill); sleep "$(fact hold_s)") & done
wait
echo '{HELD}'
"""
)

MEMORY_AT_ONCE: Final = """
import mmap
def handler(event):
    mmap.mmap(-1, 1 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
"""
"""In one call, faster than anybody samples."""

MEMORY_FILES: Final = (
    _HOLD
    + """
def handler(event):
    for path in ("/tmp/x", "/dev/shm/x"):
        with open(path, "wb", buffering=0) as file:
            try:
                for _ in range(100):
                    file.write(bytes(MIB))
            except OSError:
                pass
    return [os.stat(path).st_blocks * 512 > 80 * MIB for path in ("/tmp/x", "/dev/shm/x")]
"""
)

MEMORY_WITHOUT_A_PROCESS: Final = (
    _HOLD
    + """
def handler(event):
    files = []
    for _ in range(6):
        files.append(os.memfd_create("kept"))
        for _ in range(40):
            os.write(files[-1], bytes(MIB))
    hold(event)
"""
)

MEMORY_SYSTEM_V: Final = (
    calls("shmget", "shmdt")
    + _HOLD
    + """
libc.shmat.restype = ctypes.c_void_p
def handler(event):
    for _ in range(6):
        address = libc.shmat(call("shmget", 0, 40 * MIB, 0o1600), None, 0)
        ctypes.memset(address, 1, 40 * MIB)
        libc.shmdt(ctypes.c_void_p(address))
    hold(event)
"""
)

MEMORY_SHARED: Final = (
    _HOLD
    + """
import mmap
def handler(event):
    kept = []
    for _ in range(25):
        kept.append(mmap.mmap(-1, 10 * MIB))
        kept[-1].write(bytes(10 * MIB))
        kept[-1].madvise(mmap.MADV_DONTNEED)
    hold(event)
"""
)
"""Shared memory that no process has resident any more; it is there all the same (madvise(2))."""

FILES_IN_MEMORY: Final = (
    _HOLD
    + """
def handler(event):
    for directory in ("/tmp", "/dev/shm"):
        for number in range(40_000):
            os.mknod(f"{directory}/{number}", 0o100600)
    hold(event)
"""
)

LOCKED: Final = """
import ctypes
def handler(event):
    kept = ctypes.create_string_buffer(1 << 20)
    ctypes.CDLL(None).mlock(kept, len(kept))
    with open("/proc/self/status") as file:
        return [int(line.split()[1]) > 0 for line in file if line.startswith("VmLck")]
"""

DISK_BYTES: Final = (
    _HOLD
    + """
def handler(event):
    for number in range(40):
        with open(f".file-{number}", "wb") as file:
            file.write(os.urandom(MIB))
    hold(event)
"""
)

DISK_UNLINKED: Final = (
    _HOLD
    + """
def handler(event):
    kept = []
    for number in range(20):
        kept.append(open("file", "wb"))
        os.unlink("file")
        kept[-1].write(os.urandom(2 * MIB))
        kept[-1].flush()
    hold(event)
"""
)

DISK_CLOSED: Final = (
    FACTS
    + f"""
hold_s=$(fact hold_s)
mkdir -p .closed/below
for number in $(seq 40); do head -c 1000000 /dev/urandom > .closed/below/$number; done
chmod 000 .closed/below .closed .
sleep "$hold_s"
echo '{HELD}'
"""
)
"""Where nobody may look."""

DISK_INODES: Final = (
    _HOLD
    + """
def handler(event):
    for number in range(20_000):
        if number % 1000 == 0:
            os.mkdir(f".{number}")
        os.mknod(f".{number // 1000 * 1000}/{number}", 0o100600)
    hold(event)
"""
)

LARGE_FILE: Final = "head -c 20000000 /dev/zero > large.bin\n"


def _took_at_once(_world: "World", outcome: Outcome) -> bool:
    """By the measure of process 1."""
    return bool(outcome.result.get("metrics", {}).get("peak_memory_mb", 0) > 900)


def _wrote_more(_world: "World", outcome: Outcome) -> bool:
    return any(artifact["size"] > MIB for artifact in outcome.result.get("artifact_metadata", ()))


MEMORY: Final = (
    *(
        Attempt(f"bombs/{name}", "python", code, held, without=without, request=_SMALL)
        for name, code, without in (
            ("memory-of-one-process", MEMORY_ONE, ("memory_watchdog",)),
            ("memory-of-a-tree", MEMORY_TREE, ("memory_watchdog",)),
            ("memory-of-no-process", MEMORY_WITHOUT_A_PROCESS, ("seccomp",)),
            ("memory-of-system-v", MEMORY_SYSTEM_V, ("seccomp",)),
            ("memory-shared-and-let-go", MEMORY_SHARED, ("memory_watchdog",)),
        )
    ),
    Attempt(
        "bombs/memory-in-node",
        "javascript",
        MEMORY_NODE,
        held,
        without=("memory_watchdog",),
        request={"limits": {"memory_bytes": 128 * MIB}, "timeout": _TIMEOUT_S},
    ),
    Attempt(
        "bombs/memory-in-shell",
        "shell",
        MEMORY_SHELL,
        held,
        without=("memory_watchdog",),
        request=_SMALL,
    ),
    Attempt(
        "bombs/memory-at-once",
        "python",
        MEMORY_AT_ONCE,
        _took_at_once,
        without=("limits", "memory_watchdog"),
        request=_SMALL,
    ),
    Attempt("bombs/memory-in-files", "python", MEMORY_FILES, returned_any_of([True]), without=("tmp_size",)),
    Attempt(
        "bombs/files-in-memory",
        "python",
        FILES_IN_MEMORY,
        held,
        without=("memory_watchdog",),
        request={"timeout": _TIMEOUT_S},
    ),
    Attempt("bombs/locked-memory", "python", LOCKED, returned_any_of([True]), without=("limits",), levels=("full",)),
)

DISK: Final = (
    Attempt("bombs/disk-bytes", "python", DISK_BYTES, held, without=("disk_watch",), request=_DISK),
    Attempt("bombs/disk-unlinked", "python", DISK_UNLINKED, held, without=("disk_watch",), request=_DISK),
    Attempt("bombs/disk-closed-to-all", "shell", DISK_CLOSED, held, without=("disk_watch",), request=_DISK),
    Attempt(
        "bombs/disk-inodes",
        "python",
        DISK_INODES,
        held,
        without=("disk_watch",),
        request={"limits": {"workspace_entries": 1000}, "timeout": _TIMEOUT_S},
    ),
    Attempt(
        "bombs/one-large-file",
        "shell",
        LARGE_FILE,
        _wrote_more,
        without=("limits",),
        request={"limits": {"file_size_bytes": MIB}},
    ),
)
