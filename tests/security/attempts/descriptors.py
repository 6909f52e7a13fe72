"""Descriptors that should not be there, those that should and what they are good for, and terminals."""

from typing import TYPE_CHECKING, Final

from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import EVENT, FACTS, calls, kernel_setting, leaked, returned, soon

if TYPE_CHECKING:
    from tests.security.attempts.world import World

_INHERITED: Final = ("close_on_exec", "descriptors")
_EXIT_CODE: Final = 7
_CHANGED: Final = "written over what was given"

SCANNED_BY_PYTHON: Final = """
import array, os, socket
def tried(step):
    try:
        return step()
    except OSError:
        return None
def handler(event):
    found = []
    for number in [number for number in range(3, 4096) if tried(lambda: os.fstat(number))]:
        found.append(tried(lambda: os.read(number, 100) if number != 3 else b""))
        found.append(tried(lambda: os.pread(number, 100, 0)))
        for path in (event["canary_path"], event["canary_path"][1:], "canary", "../" * 20 + event["canary_path"][1:]):
            opened = tried(lambda: os.open(path, os.O_RDONLY, dir_fd=number))
            if opened is not None:
                found.append(os.read(opened, 100))
        for again in (f"/proc/self/fd/{number}", f"/dev/fd/{number}"):
            opened = tried(lambda: os.open(again, os.O_RDWR | os.O_NONBLOCK))
            if opened is not None:
                found.append(tried(lambda: os.read(opened, 100)))
        if tried(lambda: os.fchdir(number)) is None:
            found.append(tried(lambda: open("canary", "rb").read()))
    return [one.decode("latin-1") for one in found if one]
"""

SCANNED_BY_JAVASCRIPT: Final = (
    EVENT
    + """
const tried = (step) => { try { return step() } catch { return '' } }
for (let number = 3; number < 1024; number++) {
  const bytes = Buffer.alloc(100)
  if (!tried(() => fs.fstatSync(number))) continue
  if (tried(() => fs.fstatSync(number).isFile())) tried(() => fs.readSync(number, bytes, 0, 100, 0))
  console.log(number, bytes.toString(), tried(() => fs.readlinkSync('/proc/self/fd/' + number)))
  console.log(tried(() => fs.readFileSync(`/proc/self/fd/${number}/canary`, 'utf8')))
  console.log(tried(() => fs.readFileSync(`/proc/self/fd/${number}/../..${event.canary_path}`, 'utf8')))
}
"""
)

SCANNED_BY_SHELL: Final = (
    FACTS
    + r"""
canary=$(fact canary_path)
number=3
while [ "$number" -lt 1024 ]; do
    { : <&"$number" && timeout 1 head -c 100 <&"$number"; } 2> /dev/null
    [ -e "/proc/self/fd/$number" ] && cat "/proc/self/fd/$number/canary" "/dev/fd/$number/../../$canary" 2> /dev/null
    number=$((number + 1))
done
true
"""
)

_FORGED: Final = "exited 0 0 0 0 0 0"

FORGED_BY_PYTHON: Final = f"""
import os
def handler(event):
    for line in (b"\\n{_FORGED}\\n", b'{{ "child-pid": %d }}\\n' % event["victim_pid"]):
        for number in range(4, 4096):
            try:
                os.write(number, line)
            except OSError:
                pass
    os._exit({_EXIT_CODE})
"""

FORGED_BY_JAVASCRIPT: Final = (
    EVENT
    + f"""
// Of node's own pipes both ends are here, and writing to them ends it; of one to the outside there is one.
const pipes = new Map()
for (let number = 3; number < 1024; number++) {{
  try {{
    const found = fs.fstatSync(number)
    if (found.isFIFO()) pipes.set(found.ino, [...(pipes.get(found.ino) || []), number])
  }} catch {{}}
}}
for (const ends of pipes.values()) {{
  try {{ if (ends.length === 1) fs.writeSync(ends[0], '\\n{_FORGED}\\n') }} catch {{}}
}}
process.exit({_EXIT_CODE})
"""
)

FORGED_BY_SHELL: Final = f"""
number=3
while [ "$number" -lt 1024 ]; do
    {{ printf '\\n{_FORGED}\\n' >&"$number"; }} 2> /dev/null
    number=$((number + 1))
done
exit {_EXIT_CODE}
"""

OF_PROCESS_1: Final = f"""
for descriptor in /proc/1/fd/* /proc/1/task/1/fd/* /proc/$PPID/fd/*; do
    case "$(readlink "$descriptor")" in
        pipe:*) printf '\\n{_FORGED}\\n' > "$descriptor" ;;
    esac
done 2> /dev/null
exit {_EXIT_CODE}
"""

TAKEN_BY_PIDFD: Final = (
    calls("pidfd_open", "pidfd_getfd")
    + f"""
def handler(event):
    for pid in (1, event["executor_pid"], event["other_pid"], event["victim_pid"]):
        def take():
            of = call("pidfd_open", pid, 0)
            for number in range(3, 64):
                tried(lambda: os.write(call("pidfd_getfd", of, number, 0), b"\\n{_FORGED}\\n"))
        tried(take)
    os._exit({_EXIT_CODE})
"""
)

STANDARD_INPUT: Final = f"""
import fcntl, mmap, os
def tried(step):
    try:
        step()
    except (OSError, ValueError):
        pass
def handler(event):
    text = "{_CHANGED}".encode()
    ways = [0]
    for path in ("/proc/self/fd/0", "/dev/stdin", "/dev/fd/0"):
        tried(lambda: ways.append(os.open(path, os.O_RDWR)))
    for number in ways:
        tried(lambda: fcntl.fcntl(number, fcntl.F_ADD_SEALS, 0))
        tried(lambda: os.ftruncate(number, 1 << 20))
        tried(lambda: os.pwrite(number, text, 0))
        tried(lambda: os.posix_fallocate(number, 0, 1 << 20))
        def map_it():
            mmap.mmap(number, 4096)[: len(text)] = text
        tried(map_it)
    return os.pread(0, len(text), 0).decode()
"""

RIGHTS: Final = """
import array, os, socket
def handler(event):
    descriptors = [os.open(path, os.O_RDONLY) for path in ("/", "/workspace", "/dev")] + [0, 1, 2, 3]
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    addresses = ["\\0" + event["abstract_socket"], event["socket_path"], event["workspaces_socket_path"]]
    addresses += ["\\0" + event["abstract_datagram_socket"], "/proc/1/root" + event["socket_path"]]
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        for address in addresses:
            with socket.socket(socket.AF_UNIX, kind) as outward:
                outward.settimeout(1)
                try:
                    if kind != socket.SOCK_DGRAM:
                        outward.connect(address)
                        outward.sendmsg([b"take these"], rights)
                    else:
                        outward.sendmsg([b"take these"], rights, 0, address)
                except OSError:
                    pass
"""

OWNERS: Final = """
import fcntl, os, signal, socket, struct
F_SETOWN_EX, F_SETSIG, F_NOTIFY = 15, 10, 1026
def handler(event):
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    for pid in (event["victim_pid"], -event["victim_pid"]):
        for number in (signal.SIGUSR1, signal.SIGKILL, signal.SIGIO):
            ours, theirs = socket.socketpair()
            directory = os.open("/workspace", os.O_RDONLY)
            for step in (
                lambda: fcntl.fcntl(ours, fcntl.F_SETOWN, pid),
                lambda: fcntl.fcntl(ours, F_SETOWN_EX, struct.pack("ii", 1, pid)),
                lambda: fcntl.fcntl(ours, F_SETSIG, number),
                lambda: fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK),
                lambda: theirs.send(b"now"),
                lambda: fcntl.fcntl(directory, fcntl.F_SETOWN, pid),
                lambda: fcntl.fcntl(directory, F_NOTIFY, 0x80000004),
                lambda: os.close(os.open("/workspace/made", os.O_CREAT)),
            ):
                try:
                    step()
                except OSError:
                    pass
"""

TYPED: Final = """
import fcntl, os
TIOCSTI, TIOCLINUX, TIOCSCTTY, TIOCNOTTY = 0x5412, 0x541C, 0x540E, 0x5422
def handler(event):
    ways = [0, 1, 2]
    for directory in ("/dev", "/dev/pts", "/proc/self/fd", "/proc/1/fd"):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            if name not in ("zero", "full", "random", "urandom", "null", "ptmx"):
                try:
                    ways.append(os.open(f"{directory}/{name}", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
                except OSError:
                    pass
    for steal in (0, 1):
        for number in ways:
            for request in (TIOCSTI, TIOCSTI | 1 << 32, TIOCSTI | 1 << 63):
                for byte in b"typed\\n":
                    try:
                        fcntl.ioctl(number, request, bytes([byte]))
                    except (OSError, OverflowError):
                        pass
            for request, argument in ((TIOCLINUX, bytes([3])), (TIOCLINUX, bytes([2])), (TIOCSCTTY, steal)):
                try:
                    fcntl.ioctl(number, request, argument)
                except OSError:
                    pass
"""

SHOWN: Final = r"""
for terminal in /dev/tty /dev/console /dev/pts/* /dev/tty[0-9]* /dev/vc* /proc/self/fd/* /proc/1/fd/*; do
    case "$(readlink -f "$terminal")" in
        /dev/*) printf '\033]0;taken over\007\033[2J' > "$terminal" ;;
    esac
done 2> /dev/null
wall taken over 2> /dev/null
true
"""

READ_WHAT_WAS_TYPED: Final = (
    EVENT
    + """
for (const path of ['/dev/tty', '/dev/console', '/dev/pts/0', '/dev/pts/1', '/dev/stdin']) {
  try {
    const terminal = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK | fs.constants.O_NOCTTY)
    const bytes = Buffer.alloc(1000)
    console.log(bytes.toString('utf8', 0, fs.readSync(terminal, bytes)))
  } catch (error) { console.error(error.message) }
}
"""
)


def _succeeds_in_spite_of_its_exit_code(_world: "World", outcome: Outcome) -> bool:
    return bool(outcome.result["status"] == "success" or outcome.result["exit_code"] == 0)


ATTEMPTS: Final = (
    Attempt("descriptors/scanned-by-python", "python", SCANNED_BY_PYTHON, leaked("canary"), without=_INHERITED),
    Attempt(
        "descriptors/scanned-by-javascript", "javascript", SCANNED_BY_JAVASCRIPT, leaked("canary"), without=_INHERITED
    ),
    Attempt("descriptors/scanned-by-shell", "shell", SCANNED_BY_SHELL, leaked("canary"), without=_INHERITED),
    Attempt(
        "descriptors/status-forged-by-python",
        "python",
        FORGED_BY_PYTHON,
        _succeeds_in_spite_of_its_exit_code,
        without=("descriptors",),
    ),
    Attempt(
        "descriptors/status-forged-by-javascript",
        "javascript",
        FORGED_BY_JAVASCRIPT,
        _succeeds_in_spite_of_its_exit_code,
        without=("descriptors",),
    ),
    Attempt(
        "descriptors/status-forged-by-shell",
        "shell",
        FORGED_BY_SHELL,
        _succeeds_in_spite_of_its_exit_code,
        without=("descriptors",),
    ),
    Attempt(
        "descriptors/status-of-process-1",
        "shell",
        OF_PROCESS_1,
        _succeeds_in_spite_of_its_exit_code,
        without=("process_1",),
        levels=("full",),
    ),
    Attempt(
        "descriptors/taken-by-pidfd",
        "python",
        TAKEN_BY_PIDFD,
        _succeeds_in_spite_of_its_exit_code,
        without=("seccomp", "process_1", *(("unprivileged",) if kernel_setting("kernel/yama/ptrace_scope") else ())),
    ),
    Attempt(
        "descriptors/standard-input",
        "python",
        STANDARD_INPUT,
        returned(_CHANGED),
        without=("seals",),
        request={"stdin": "what was given to it, which it may read and no more"},
    ),
    Attempt("descriptors/rights", "python", RIGHTS, lambda world, _outcome: world.reached(), without=("net",)),
    Attempt("descriptors/owners", "python", OWNERS, soon(lambda world, _outcome: world.signalled()), without=("pid",)),
    Attempt(
        "descriptors/terminal-typed-into",
        "python",
        TYPED,
        soon(lambda world, _outcome: world.terminal_touched()),
        without=("new_session", "seccomp", *(() if kernel_setting("dev/tty/legacy_tiocsti", 1) else ("unprivileged",))),
    ),
    Attempt(
        "descriptors/terminal-written-to",
        "shell",
        SHOWN,
        soon(lambda world, _outcome: world.terminal_touched()),
        without=("new_session",),
    ),
    Attempt(
        "descriptors/terminal-read",
        "javascript",
        READ_WHAT_WAS_TYPED,
        leaked("terminal"),
        without=("new_session",),
    ),
)
