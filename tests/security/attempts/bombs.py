"""Using up what all share: processes, memory, disk, output, descriptors, CPU, and time itself.

Each is bounded, so that without its protection it does no harm either: it only takes more than it was given. What was
taken is seen from outside: how long the run was let live, what it left in its workspace, what the executor holds.
"""

from typing import TYPE_CHECKING, Final

from contracts import bounds
from tests.security.attempts import bombs_of_storage
from tests.security.attempts.effects import any_of, late, listed, lived_for, swelled
from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import calls, returned_any_of

if TYPE_CHECKING:
    from tests.security.attempts.world import World

_FEW: Final = {"limits": {"processes": 32}, "timeout": 5}
_SHORT: Final = {"timeout": 2}

FORK_SHELL: Final = """
bomb() {
    touch "alive-$BASHPID"
    [ "$1" -gt 0 ] && { bomb $(($1 - 1)) & bomb $(($1 - 1)) & }
    sleep 9
}
bomb 6
"""
"""Like :(){ :|:& };: but with 127 processes at most; each leaves a file and stays for longer than the timeout."""

FORK_PYTHON: Final = """
import os, time
def handler(event):
    made = 0
    for number in range(150):
        try:
            if os.fork() == 0:
                open(f"alive-{number}", "w").close()
                time.sleep(9)
                os._exit(0)
        except OSError:
            time.sleep(0.01)
    time.sleep(9)
"""

FORK_NODE: Final = """
const { spawn } = require('child_process')
for (let number = 0; number < 60; number++) {
  try { spawn('/bin/sh', ['-c', `touch alive-${number}; exec sleep 9`]).on('error', () => {}) } catch (error) {}
}
"""

THREADS: Final = """
import threading, time
def live(number):
    open(f"alive-{number}", "w").close()
    time.sleep(9)
def handler(event):
    for number in range(120):
        try:
            threading.Thread(target=live, args=[number]).start()
        except RuntimeError:
            pass
"""

OUTPUT_BOTH: Final = """
const { spawn } = require('child_process')
const line = 'x'.repeat(65535) + '\\n'
for (const stream of ['1', '2']) spawn('/bin/sh', ['-c', `yes >&${stream}`], { stdio: ['ignore', 1, 2] })
"""

OUTPUT_ONE_LINE: Final = """
import os
def handler(event):
    for _ in range(1024):
        left = memoryview(bytes(1 << 20).replace(b"\\0", b"x"))
        while left:
            left = left[os.write(1, left):]
"""

OUTPUT_PACKETS: Final = """
import fcntl, os, time
def handler(event):
    # Each write is a packet of its own, which one read gives alone (pipe(2)).
    for number in (1, 2):
        fcntl.fcntl(number, fcntl.F_SETFL, os.O_DIRECT)
        if os.fork() == 0:
            while True:
                os.write(number, b"x")
    time.sleep(60)
"""

DESCRIPTORS: Final = """
import os, resource
def handler(event):
    opened = 0
    try:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        while opened < 300:
            opened = os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass
    os.closerange(4, 300)
    return [opened > 64]
"""

PIPES: Final = """
import fcntl, os, time
def handler(event):
    kept = []
    try:
        while len(kept) < 900:
            r, w = os.pipe()
            kept += [r, w]
            os.set_blocking(w, False)
            try:
                fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 1 << 20)
            except OSError:
                pass
            try:
                while os.write(w, bytes(65536)):
                    pass
            except BlockingIOError:
                pass
    except OSError:
        pass
    time.sleep(2)
"""

INOTIFY: Final = (
    calls("inotify_init1", "inotify_add_watch")
    + """
def handler(event):
    # The quota is of the uid, which is everybody's here; what others open below /usr is told by name.
    told = call("inotify_init1", os.O_NONBLOCK)
    call("inotify_add_watch", told, b"/usr/bin", 0x20)
    if os.fork() == 0:
        os.execv("/usr/bin/true", ["true"])
    os.wait()
    return [b"true" in os.read(told, 4096)]
"""
)

SEMAPHORES: Final = (
    calls("semget", "msgget", "msgsnd")
    + """
def handler(event):
    sets = [call("semget", 0, 32000, 0o1600) for _ in range(4)]  # 8 MiB of the kernel's memory, of nobody's
    queue = call("msgget", 0, 0o1600)
    call("msgsnd", queue, struct.pack("l4000s", 1, b"x"), 4000, 0)
    return [len(set(sets)) == 4]
"""
)

MESSAGE_QUEUE: Final = (
    calls("mq_open")
    + """
def handler(event):
    return [call("mq_open", b"kept", os.O_RDWR | os.O_CREAT, 0o600, 0) > 2]
"""
)

SIGNALS: Final = (
    calls("rt_sigqueueinfo")
    + """
import signal
def handler(event):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
    information = ctypes.create_string_buffer(struct.pack("iii", signal.SIGRTMIN, 0, -1), 128)
    queued = 0
    try:
        while queued < 5000:
            call("rt_sigqueueinfo", os.getpid(), signal.SIGRTMIN, information)
            queued += 1
    except OSError:
        pass
    return [queued > 2000]
"""
)

CPU_LIMIT: Final = """
import time
def handler(event):
    began = time.thread_time()
    while time.thread_time() - began < 3:
        pass
"""

SPIN: Final = """
import os, time
def handler(event):
    end = time.monotonic() + 8
    for _ in range(30):
        if os.fork() == 0:
            break
    while time.monotonic() < end:
        pass
    os._exit(0)
"""

SPIN_NODE: Final = """
const { Worker } = require('worker_threads')
const until = Date.now() + 8000
const code = `while (Date.now() < ${until}) Math.sqrt(2)`
for (let number = 0; number < 8; number++) new Worker(code, { eval: true })
eval(code)
"""

REGULAR_EXPRESSION: Final = """
node -e 'setTimeout(() => process.exit(), 8000); /^(a+)+$/.test("a".repeat(29) + "b")' &
python3 -c 'import zlib; data = zlib.compress(bytes(1 << 26), 9)
for _ in range(60): zlib.decompress(data)' &
sleep 8
"""
"""Small inputs that take long: a pattern that backtracks, an archive of zeros."""

IGNORES_SIGNALS: Final = """
import os, signal, time
def handler(event):
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.setsid()
    time.sleep(30)
"""

STOPPED: Final = """
trap '' TERM INT HUP CONT
(trap '' TERM; sleep 30) &
kill -STOP $! $$
"""

WAITS_FOR_VFORK: Final = (
    calls("vfork")
    + """
import time
def handler(event):
    # The parent cannot be interrupted by anything but death until its child has gone.
    if call("vfork") == 0:
        time.sleep(30)
        os._exit(0)
"""
)

SLOW_DAEMON: Final = """
const { spawn } = require('child_process')
for (let number = 0; number < 5; number++) {
  spawn('/bin/sh', ['-c', "trap '' TERM HUP INT; sleep 30; true"], { detached: true, stdio: 'ignore' }).unref()
}
setTimeout(() => {}, 30000)
"""


def _printed_more(_world: "World", outcome: Outcome) -> bool:
    return max(len(outcome.result["stdout"]), len(outcome.result["stderr"])) > bounds.MAX_STREAM_BYTES


def _kept_executor_busy(_world: "World", outcome: Outcome) -> bool:
    """A byte that was kept is a read that the executor made."""
    return len(outcome.result["stdout"]) > 3000


_MORE_PROCESSES: Final = listed("alive-", more_than=32)
_TOO_MUCH_OUTPUT: Final = any_of(_printed_more, swelled)
_RETURNED_TRUE: Final = returned_any_of([True])

PROCESSES: Final = (
    Attempt("bombs/fork-in-shell", "shell", FORK_SHELL, _MORE_PROCESSES, without=("limits",), request=_FEW),
    Attempt("bombs/fork-in-python", "python", FORK_PYTHON, _MORE_PROCESSES, without=("limits",), request=_FEW),
    Attempt("bombs/fork-in-node", "javascript", FORK_NODE, _MORE_PROCESSES, without=("limits",), request=_FEW),
    Attempt("bombs/threads", "python", THREADS, _MORE_PROCESSES, without=("limits",), request=_FEW),
)

OUTPUT: Final = (
    Attempt(
        "bombs/output-of-both-streams",
        "javascript",
        OUTPUT_BOTH,
        _TOO_MUCH_OUTPUT,
        without=("output_bound",),
        request=_SHORT,
    ),
    Attempt(
        "bombs/output-of-one-line",
        "python",
        OUTPUT_ONE_LINE,
        _TOO_MUCH_OUTPUT,
        without=("output_bound",),
        request=_SHORT,
    ),
    Attempt(
        "bombs/output-in-packets",
        "python",
        OUTPUT_PACKETS,
        _kept_executor_busy,
        without=("read_pause",),
        request=_SHORT,
    ),
)

QUOTAS: Final = (
    Attempt(
        "bombs/descriptors",
        "python",
        DESCRIPTORS,
        _RETURNED_TRUE,
        without=("limits",),
        request={"limits": {"open_files": 64}},
    ),
    Attempt(
        "bombs/pipes",
        "python",
        PIPES,
        late(30),
        unproved="what bounds the pages in all pipes of a uid is the kernel (pipe-user-pages-soft); the executor and "
        "the honest execution beside it must live with the smallest pipes, which is what is tried",
    ),
    Attempt("bombs/inotify", "python", INOTIFY, _RETURNED_TRUE, without=("seccomp",)),
    Attempt("bombs/system-v", "python", SEMAPHORES, _RETURNED_TRUE, without=("seccomp",)),
    Attempt("bombs/message-queue", "python", MESSAGE_QUEUE, _RETURNED_TRUE, without=("limits",)),
    Attempt("bombs/queued-signals", "python", SIGNALS, _RETURNED_TRUE, without=("limits",)),
)

TIME: Final = (
    Attempt(
        "bombs/cpu-limit",
        "python",
        CPU_LIMIT,
        lived_for(2.5),
        without=("limits",),
        request={"limits": {"cpu_seconds": 1}, "timeout": 90},
    ),
    Attempt("bombs/spin", "python", SPIN, late(2), without=("timeout",), request=_SHORT),
    Attempt("bombs/spin-in-node", "javascript", SPIN_NODE, late(2), without=("timeout",), request=_SHORT),
    Attempt("bombs/small-but-slow", "shell", REGULAR_EXPRESSION, late(2), without=("timeout",), request=_SHORT),
    Attempt("bombs/ignores-signals", "python", IGNORES_SIGNALS, late(2), without=("sigkill",), request=_SHORT),
    Attempt("bombs/stopped", "shell", STOPPED, late(2), without=("sigkill",), request=_SHORT),
    Attempt("bombs/waits-for-vfork", "python", WAITS_FOR_VFORK, late(2), without=("sigkill",), request=_SHORT),
    Attempt("bombs/slow-daemons", "javascript", SLOW_DAEMON, late(2), without=("sigkill",), request=_SHORT),
)

ATTEMPTS: Final = (*PROCESSES, *bombs_of_storage.MEMORY, *bombs_of_storage.DISK, *OUTPUT, *QUOTAS, *TIME)
