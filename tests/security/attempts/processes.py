"""Other processes: signals, tracing, memory, environments, priorities.

The victim (``victim``) has the executor's uid, and so has all that runs in a sandbox: between them stand the pid
namespace, where its pid means nothing, and the user namespace, across which the kernel lets nobody look.
"""

from typing import Final

from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import EVENT, FACTS, Effect, calls, leaked, soon
from tests.security.attempts.world import World

FORGED_CPU_MS: Final = 99_000_000.0

_MEMORY = """
import os, re
def pieces(pid):
    # what another process has in its writable memory
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if rights.startswith("rw") and "[v" not in line:
                start, end = (int(part, 16) for part in span.split("-"))
                try:
                    memory.seek(start)
                    yield memory.read(end - start)
                except OSError:
                    continue
def secrets_of(pid):
    return sorted({found.decode() for piece in pieces(pid) for found in re.findall(rb"\\b[0-9a-f]{32}\\b", piece)})
"""


def _signalled(world: World, _outcome: Outcome) -> bool:
    return world.signalled()


def _victim_changed(world: World, _outcome: Outcome) -> bool:
    return world.victim_changed()


def _ended_other(world: World, _outcome: Outcome) -> bool:
    return not world.other_runs()


def _ended_executor(world: World, _outcome: Outcome) -> bool:
    return not world.executor_runs()


def _unfinished(_world: World, outcome: Outcome) -> bool:
    """The run's own end was not the handler's: process 1 did not do its work."""
    return bool(outcome.result["status"] != "success")


def _forged_usage(_world: World, outcome: Outcome) -> bool:
    return bool(outcome.result["metrics"]["cpu_time_ms"] > FORGED_CPU_MS / 2)


def _shows(text: str) -> Effect:
    return lambda _world, outcome: text in outcome.result["stdout"]


SIGNALS = (
    Attempt(
        "processes/signal-a-pid",
        "python",
        """
import os, signal
def handler(event):
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            os.kill(event["victim_pid"], number)
        except OSError:
            pass
""",
        soon(_signalled),
        without=("pid",),
    ),
    Attempt(
        "processes/signal-everything",
        "shell",
        "trap '' TERM; kill -TERM -1; echo on",
        soon(_signalled),
        without=("pid",),
    ),
    Attempt(
        "processes/kill-the-neighbour",
        "javascript",
        EVENT + "process.kill(event.other_pid, 'SIGKILL')",
        soon(_ended_other),
        without=("pid",),
    ),
    Attempt(
        "processes/kill-the-executor",
        "shell",
        FACTS + 'kill -KILL "$(fact executor_pid)"',
        soon(_ended_executor),
        without=("pid",),
    ),
    Attempt(
        "processes/kill-the-process-group",
        "python",
        "import os, signal\ndef handler(event): os.kill(0, signal.SIGKILL)",
        soon(_ended_executor),
        without=("pid", "new_session"),
    ),
    Attempt(
        "processes/signal-by-pidfd",
        "python",
        """
import os, signal
def handler(event):
    signal.pidfd_send_signal(os.pidfd_open(event["victim_pid"]), signal.SIGUSR1)
""",
        soon(_signalled),
        without=("pid",),
    ),
    Attempt(
        "processes/signal-by-asynchronous-input",
        "python",
        """
import fcntl, os, socket
def handler(event):
    # The kernel sends SIGIO to whatever process a descriptor names as its owner (fcntl(2), F_SETOWN).
    ours, theirs = socket.socketpair()
    fcntl.fcntl(ours, fcntl.F_SETOWN, event["victim_pid"])
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    theirs.send(b"x")
""",
        soon(_signalled),
        without=("pid",),
    ),
)

LOOKING = (
    Attempt(
        "processes/list",
        "shell",
        "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $file; echo; done",
        _shows("tests.security.attempts"),
        without=("pid",),
    ),
    Attempt(
        "processes/environment-of-the-victim",
        "shell",
        FACTS + 'cat "/proc/$(fact victim_pid)/environ" /proc/[0-9]*/environ',
        leaked("victim_environment"),
        without=("bwrap",),
    ),
    Attempt(
        "processes/environment-of-the-executor",
        "javascript",
        EVENT
        + """
for (const pid of [event.executor_pid, 'self', ...fs.readdirSync('/proc').filter(Number)]) {
  try { console.log(fs.readFileSync(`/proc/${pid}/environ`, 'latin1')) } catch (error) { console.log(error.code) }
}
""",
        leaked("internal_token", "execute_token"),
        without=("bwrap", "non_dumpable"),
    ),
    Attempt(
        "processes/environment-of-the-neighbour",
        "python",
        """
import os
def handler(event):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                found.append(file.read().decode())
        except OSError:
            continue
    return found
""",
        leaked("other_environment"),
        without=("bwrap",),
    ),
    Attempt(
        "processes/workspace-of-the-neighbour-through-proc",
        "shell",
        FACTS + 'cat "/proc/$(fact other_pid)/cwd/secret.txt" /proc/[0-9]*/cwd/secret.txt',
        leaked("other_workspace"),
        without=("bwrap",),
    ),
    Attempt(
        "processes/directories-that-the-executor-holds",
        "shell",
        FACTS + 'for fd in "/proc/$(fact executor_pid)/fd/"*; do cat "$fd/secret.txt"; done',
        leaked("other_workspace"),
        without=("bwrap", "non_dumpable"),
    ),
    Attempt(
        "processes/memory-of-the-victim",
        "python",
        _MEMORY + "def handler(event): return secrets_of(event['victim_pid'])",
        leaked("victim_memory"),
        without=("bwrap",),
    ),
    Attempt(
        "processes/memory-of-the-executor",
        "python",
        _MEMORY + "def handler(event): return secrets_of(event['executor_pid'])",
        leaked("internal_token", "execute_token"),
        without=("bwrap", "non_dumpable"),
    ),
    Attempt(
        "processes/memory-of-the-neighbour",
        "python",
        calls("process_vm_readv")
        + """
import re
def handler(event):
    # An address that is the same in each process started alike is all that this call needs; here maps tell it.
    pid, found = event["other_pid"], set()
    with open(f"/proc/{pid}/maps") as maps:
        spans = [line.split()[0].split("-") for line in maps if " rw-p " in line]
    for start, end in ((int(a, 16), int(b, 16)) for a, b in spans):
        size = min(end - start, 1 << 24)
        buffer = ctypes.create_string_buffer(size)
        local = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), size)
        remote = (ctypes.c_uint64 * 2)(start, size)
        tried(lambda: call("process_vm_readv", pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
        found.update(re.findall(rb"[0-9a-f]{32}", buffer.raw))
    return [text.decode() for text in found]
""",
        leaked("other_memory"),
        without=("bwrap",),
    ),
)

_SEIZE = (
    calls("ptrace")
    + """
SEIZE, EXITKILL = 0x4206, 0x100000
def seize(pid):
    # With PTRACE_O_EXITKILL the kernel kills what is traced when the tracer ends (ptrace(2)).
    call("ptrace", SEIZE, pid, 0, EXITKILL)
"""
)
TRACING = (
    Attempt(
        "processes/trace-the-victim",
        "python",
        _SEIZE + "def handler(event): seize(event['victim_pid'])",
        soon(_signalled),
        without=("bwrap",),
    ),
    Attempt(
        "processes/trace-the-executor",
        "python",
        _SEIZE + "def handler(event): seize(event['executor_pid'])",
        soon(_ended_executor),
        without=("bwrap", "non_dumpable"),
    ),
    Attempt(
        "processes/trace-process-1",
        "python",
        _SEIZE + "def handler(event): tried(lambda: seize(1))",
        _unfinished,
        without=("process_1", "seccomp"),
    ),
)

PROCESS_1 = (
    Attempt(
        "processes/kill-process-1",
        "python",
        """
import os, signal
def handler(event):
    for pid in (os.getppid(), 1):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
""",
        _unfinished,
        without=("pid",),
    ),
    Attempt(
        "processes/stop-process-1",
        "shell",
        'for signal in INT HUP QUIT TERM ABRT USR1 ALRM TSTP STOP; do kill "-$signal" "$PPID" 1; done; true',
        _unfinished,
        without=("pid",),
        request={"timeout": 15},
    ),
    Attempt(
        "processes/descriptors-of-process-1",
        "python",
        f"""
import os
def handler(event):
    # What process 1 tells the executor about this run, said by somebody else.
    for path in (f"/proc/{{pid}}/fd/{{fd}}" for pid in (1, os.getppid()) for fd in range(3, 64)):
        try:
            with open(path, "wb", 0) as pipe:
                pipe.write(b"exited 0 0 {int(FORGED_CPU_MS * 1000)} 1 1 1\\n")
        except OSError:
            pass
""",
        _forged_usage,
        without=("process_1",),
    ),
)

CHANGES = (
    Attempt(
        "processes/priority",
        "python",
        """
import os
def handler(event):
    for which, who in ((os.PRIO_PROCESS, event["victim_pid"]), (os.PRIO_USER, os.getuid()), (os.PRIO_USER, 0)):
        try:
            os.setpriority(which, who, 19)
        except OSError:
            pass
""",
        _victim_changed,
        without=("pid",),
    ),
    Attempt(
        "processes/scheduler",
        "python",
        """
import os
def handler(event):
    os.sched_setscheduler(event["victim_pid"], os.SCHED_IDLE, os.sched_param(0))
""",
        _victim_changed,
        without=("pid",),
    ),
    Attempt(
        "processes/affinity",
        "shell",
        FACTS + 'taskset -a -c -p 0 "$(fact victim_pid)"',
        _victim_changed,
        without=("pid",),
    ),
    Attempt(
        "processes/limits-of-another",
        "shell",
        FACTS + 'prlimit --pid "$(fact victim_pid)" --nofile=3:3',
        _victim_changed,
        without=("pid", "seccomp"),
    ),
    Attempt(
        "processes/choose-who-dies-out-of-memory",
        "shell",
        FACTS + 'echo 1000 > "/proc/$(fact victim_pid)/oom_score_adj"',
        _victim_changed,
        without=("pid",),
    ),
)

ATTEMPTS = SIGNALS + LOOKING + TRACING + PROCESS_1 + CHANGES
