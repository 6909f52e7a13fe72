"""Parts of the kernel that code here has no use for, and most of which reach further than a sandbox.

Each attempt brings back what only the call can give: a packet's, a map's or a page's content, a kernel's name that
only another personality has.
"""

import platform
from typing import TYPE_CHECKING, Final

from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import EVENT, calls, kernel_setting, returned, returned_any_of

if TYPE_CHECKING:
    from tests.security.attempts.world import World

_ROOT: Final = ("seccomp", "unprivileged")
"""What the kernel keeps for the machine's own root, whatever a filter says."""
_TRACER: Final = ("seccomp",) if kernel_setting("kernel/yama/ptrace_scope") <= 1 else _ROOT
_OLD_RELEASE: Final = "2.6."
"""What a process with the personality UNAME26 gets for the kernel's release (personality(2))."""

BPF: Final = (
    calls("bpf")
    + """
CREATE, LOOK_UP, UPDATE, ARRAY = 0, 1, 2, 2
def handler(event):
    made = call("bpf", CREATE, (ctypes.c_uint32 * 4)(ARRAY, 4, 16, 1), 16)
    key, found = ctypes.c_uint32(0), ctypes.create_string_buffer(16)
    value = ctypes.create_string_buffer(b"kept in a map", 16)
    for command, memory in ((UPDATE, value), (LOOK_UP, found)):
        fields = struct.pack("IxxxxQQQ", made, ctypes.addressof(key), ctypes.addressof(memory), 0)
        call("bpf", command, ctypes.create_string_buffer(fields), len(fields))
    return found.value.decode()
"""
)

PERF: Final = (
    calls("perf_event_open", "prctl")
    + """
import mmap
SOFTWARE, DUMMY, EXCLUDE_KERNEL, EXCLUDE_HV, COMM = 1, 9, 1 << 5, 1 << 6, 1 << 9
def handler(event):
    asked = struct.pack("IIQQQQQIIQ", SOFTWARE, 64, DUMMY, 0, 0, 0, EXCLUDE_KERNEL | EXCLUDE_HV | COMM, 0, 0, 0)
    opened = call("perf_event_open", ctypes.create_string_buffer(asked), 0, -1, -1, 0)
    records = mmap.mmap(opened, 2 * mmap.PAGESIZE)
    call("prctl", 15, b"seen-by-perf", 0, 0, 0)
    record = records[mmap.PAGESIZE : mmap.PAGESIZE + 64]
    return record[16:].split(b"\\0")[0].decode()
"""
)

IO_URING: Final = (
    calls("io_uring_setup", "io_uring_enter")
    + """
import mmap
READ, GET_EVENTS, ENTRIES_AT = 22, 1, 0x10000000
def handler(event):
    with open("/workspace/.file", "w") as file:
        file.write("read by" + " a ring")
    fields = (ctypes.c_uint32 * 30)()
    ring = call("io_uring_setup", 4, fields)
    _, tail, mask, _, _, _, array = fields[10:17]
    _, _, _, _, _, completions = fields[20:26]
    queues = mmap.mmap(ring, completions + 8 * 16 + 4096)
    entries = mmap.mmap(ring, 4 * 64, offset=ENTRIES_AT)
    into = ctypes.create_string_buffer(64)
    source = os.open("/workspace/.file", os.O_RDONLY)
    entries[:64] = struct.pack("BBHiQQI", READ, 0, 0, source, 0, ctypes.addressof(into), 63).ljust(64, b"\\0")
    queues[array : array + 4] = struct.pack("I", 0)
    queues[tail : tail + 4] = struct.pack("I", 1)
    call("io_uring_enter", ring, 1, 1, GET_EVENTS, None, 0)
    return into.value.decode()
"""
)

USERFAULTFD: Final = (
    calls("userfaultfd", "ioctl")
    + """
import mmap
USER_MODE_ONLY, API, REGISTER, COPY, MISSING = 1, 0xC018AA3F, 0xC020AA00, 0xC028AA03, 1
def handler(event):
    faults = call("userfaultfd", USER_MODE_ONLY | os.O_CLOEXEC)
    page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    source = ctypes.create_string_buffer(b"put there by a fault", 2 * mmap.PAGESIZE)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    for request, fields in (
        (API, (0xAA, 0, 0)),
        (REGISTER, (at, mmap.PAGESIZE, MISSING, 0)),
        (COPY, (at, ctypes.addressof(source), mmap.PAGESIZE, 0, 0)),
    ):
        call("ioctl", faults, request, (ctypes.c_uint64 * len(fields))(*fields))
    return page[:].split(b"\\0")[0].decode()
"""
)

_SECRETIVE_CHILD: Final = """
import signal
def start():
    # a process that has a secret in its memory, and writes it to a file of its own: its pid and the address
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        secret = ctypes.create_string_buffer(os.urandom(16).hex().encode())
        with open("/workspace/secret-of-the-child", "w") as file:
            file.write(secret.value.decode())
        os.write(w, str(ctypes.addressof(secret)).encode())
        signal.pause()
    return pid, int(os.read(r, 100))
"""

PTRACE: Final = (
    calls("ptrace")
    + _SECRETIVE_CHILD
    + """
PEEK, ATTACH, SEIZE = 1, 16, 0x4206
def handler(event):
    for pid in (1, event["victim_pid"], event["executor_pid"]):
        tried(lambda: call("ptrace", SEIZE, pid, 0, 0))
    pid, address = start()
    call("ptrace", ATTACH, pid, 0, 0)
    os.waitpid(pid, 0)
    words = (ctypes.c_uint64 * 4)()
    for number in range(4):
        call("ptrace", PEEK, pid, address + 8 * number, ctypes.byref(words, 8 * number))
    return bytes(words).decode()
"""
)

PROCESS_VM: Final = (
    calls("process_vm_readv")
    + _SECRETIVE_CHILD
    + """
def handler(event):
    pid, address = start()
    into = ctypes.create_string_buffer(33)
    local = (ctypes.c_uint64 * 2)(ctypes.addressof(into), 32)
    remote = (ctypes.c_uint64 * 2)(address, 32)
    call("process_vm_readv", pid, local, 1, remote, 1, 0)
    return into.value.decode()
"""
)

_KEYS: Final = (
    calls("add_key", "keyctl") + "RINGS = (-3, -4, -5, -2)  # of the session, the user, its session, the process\n"
)

LEAVE_KEY: Final = (
    _KEYS
    + """
def handler(event):
    for ring in RINGS:
        def leave():
            key = call("add_key", b"user", b"left-behind", b"left by another run", 19, ring)
            call("keyctl", 5, key, 0x3F3F3F3F)
        tried(leave)
"""
)

FIND_KEY: Final = (
    _KEYS
    + """
SEARCH, READ = 10, 11
def handler(event):
    into = ctypes.create_string_buffer(100)
    for ring in RINGS:
        if tried(lambda: call("keyctl", READ, call("keyctl", SEARCH, ring, b"user", b"left-behind", 0), into, 99)):
            return into.value.decode()
"""
)


PERSONALITY: Final = """
setarch "$(uname -m)" --uname-2.6 uname -r
"""

_INT_80: Final = """
import mmap
PERSONALITY_32 = bytes.fromhex("53b888000000bb00000200cd805bc3")  # its number and argument, int 0x80, return
def int_80():
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(PERSONALITY_32)
    ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
def x32():
    libc.syscall(0x40000000 | NUMBERS["personality"], 0x20000)
"""

OTHER_ABI: Final = (
    calls("personality")
    + _INT_80
    + """
def handler(event):
    found = []
    for way in (int_80, x32):
        r, w = os.pipe()
        if os.fork() == 0:
            way()
            os.write(w, os.uname().release.encode())
            os._exit(0)
        os.close(w)
        found.append(os.read(r, 100).decode())
    return found
"""
)

PROGRAM_OF_32_BITS: Final = (
    EVENT
    + """
// personality(UNAME26), uname(buffer), write(1, its release), exit: i386, static, at 0x10000
const code = Buffer.from('b888000000bb00000200cd80b87a000000bb00010100cd80' +
  'b804000000bb01000000b982010100ba41000000cd80b80100000031dbcd80', 'hex')
const file = Buffer.alloc(84 + code.length)
file.set(Buffer.from('7f454c46010101', 'hex'))
file.writeUInt16LE(2, 16), file.writeUInt16LE(3, 18), file.writeUInt32LE(1, 20)
file.writeUInt32LE(0x10054, 24), file.writeUInt32LE(52, 28), file.writeUInt16LE(52, 40)
file.writeUInt16LE(32, 42), file.writeUInt16LE(1, 44)
const size = file.length
;[1, 0, 0x10000, 0x10000, size, 0x1000, 7, 0x1000].forEach((word, i) => file.writeUInt32LE(word, 52 + 4 * i))
file.set(code, 84)
fs.writeFileSync('.program', file, { mode: 0o755 })
show('./.program')
"""
)

MODIFY_LDT: Final = (
    calls("modify_ldt")
    + """
def handler(event):
    entry = (ctypes.c_uint32 * 4)(0, 0x12345000, 0xFFFFF, 0b1010001)
    call("modify_ldt", 0x11, entry, 16)
    found = ctypes.create_string_buffer(8)
    call("modify_ldt", 0, found, 8)
    return found.raw[2] << 0 | found.raw[3] << 8 | found.raw[4] << 16 | found.raw[7] << 24
"""
)

NETLINK: Final = """
import socket, struct
def handler(event):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.send(struct.pack("IHHII16x", 32, 18, 0x301, 1, 0))
        answer = route.recv(65536)
    at, names = 32, []
    while at + 4 <= struct.unpack_from("I", answer)[0]:
        size, kind = struct.unpack_from("HH", answer, at)
        if kind == 3:
            names.append(answer[at + 4 : at + size - 1].decode())
        at += size + 3 & ~3
    return names
"""

SOCKETS: Final = (
    calls("socket", "socketpair")
    + """
import socket
UNIX, INTERNET = 1, (2, 10)
def handler(event):
    found = set()
    for family in range(64):
        for kind in (1, 2, 3, 5, 10):
            for high in (0, 1 << 32, 1 << 63):
                try:
                    opened = call("socket", family | high if high < 1 << 63 else family - high, kind, 0)
                except OSError:
                    continue
                with socket.socket(fileno=opened) as made:
                    found.add(made.getsockopt(socket.SOL_SOCKET, 39))
    return sorted(found)
"""
)

FANOTIFY: Final = (
    calls("fanotify_init", "fanotify_mark")
    + """
REPORT_NAME, ADD, CREATE, HERE = 0xC00, 1, 0x100, -100
def handler(event):
    told = call("fanotify_init", REPORT_NAME, os.O_RDONLY)
    call("fanotify_mark", told, ADD, CREATE, HERE, b"/workspace")
    os.close(os.open("/workspace/noticed" + "-by-fanotify", os.O_CREAT | os.O_WRONLY))
    record = os.read(told, 4096)
    handle_bytes, = struct.unpack_from("I", record, 24 + 4 + 8)
    return record[24 + 4 + 8 + 8 + handle_bytes :].split(b"\\0")[0].decode()
"""
)


def _child_was_read(_world: "World", outcome: Outcome) -> bool:
    secret = outcome.artifacts.get("secret-of-the-child", b"").decode()
    return bool(secret) and outcome.result["return_value"] == secret


def _has_old_release(_world: "World", outcome: Outcome) -> bool:
    lines = [*outcome.result["stdout"].splitlines(), *(outcome.result["return_value"] or ())]
    return any(line.startswith(_OLD_RELEASE) for line in lines)


_OF_THIS_MACHINE: Final = (
    (
        Attempt("kernel/other-abi", "python", OTHER_ABI, _has_old_release, without=("seccomp",)),
        Attempt("kernel/program-of-32-bits", "javascript", PROGRAM_OF_32_BITS, _has_old_release, without=("seccomp",)),
        Attempt("kernel/modify-ldt", "python", MODIFY_LDT, returned(0x12345000), without=("seccomp",)),
    )
    if platform.machine() == "x86_64"
    else ()
)

ATTEMPTS: Final = (
    Attempt("kernel/bpf", "python", BPF, returned("kept in a map"), without=_ROOT),
    Attempt(
        "kernel/perf",
        "python",
        PERF,
        returned("seen-by-perf"),
        without=("seccomp",) if kernel_setting("kernel/perf_event_paranoid") <= 2 else _ROOT,
    ),
    Attempt(
        "kernel/io-uring",
        "python",
        IO_URING,
        returned("read by a ring"),
        without=(*(_ROOT if kernel_setting("kernel/io_uring_disabled") else ("seccomp",)), "limits"),
    ),
    Attempt("kernel/userfaultfd", "python", USERFAULTFD, returned("put there by a fault"), without=("seccomp",)),
    Attempt("kernel/ptrace", "python", PTRACE, _child_was_read, without=_TRACER),
    Attempt("kernel/process-vm", "python", PROCESS_VM, _child_was_read, without=_TRACER),
    Attempt(
        "kernel/keyring",
        "python",
        LEAVE_KEY,
        returned("left by another run"),
        without=("seccomp",),
        then=(Attempt("kernel/keyring-found", "python", FIND_KEY, returned("left by another run")),),
    ),
    Attempt("kernel/personality", "shell", PERSONALITY, _has_old_release, without=("seccomp",)),
    Attempt("kernel/netlink", "python", NETLINK, returned_any_of(["lo"]), without=("seccomp",)),
    Attempt(
        "kernel/socket-families",
        "python",
        SOCKETS,
        lambda _world, outcome: bool(set(outcome.result["return_value"] or ()) - {1, 2, 10}),
        without=("seccomp",),
    ),
    Attempt("kernel/fanotify", "python", FANOTIFY, returned("noticed-by-fanotify"), without=("seccomp",)),
    *_OF_THIS_MACHINE,
)
