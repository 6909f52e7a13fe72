"""Processes that are to outlive their run: the pid namespace ends with its process 1, and they with it."""

from typing import Final

from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.world import World

ORPHAN_S: Final = 60
"""An orphan lives so long, unless it is killed: much longer than any test waits, and not for ever."""

_ORPHAN = f"""
import os, signal, time
def stay():
    os.setsid()
    for number in signal.valid_signals() - {{signal.SIGKILL, signal.SIGSTOP}}:
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, 1000)
    time.sleep({ORPHAN_S})
    os._exit(0)
def fork_twice():
    if os.fork() == 0:
        if os.fork() == 0:
            stay()
        os._exit(0)
    os.wait()
"""


def _left(world: World, outcome: Outcome) -> bool:
    return world.processes_left(outcome)


ATTEMPTS = (
    Attempt(
        "orphans/by-two-forks",
        "python",
        _ORPHAN + "def handler(event): fork_twice()",
        _left,
        without=("pid",),
    ),
    Attempt(
        "orphans/with-nohup",
        "shell",
        f"trap '' HUP TERM INT; nohup setsid sleep {ORPHAN_S} > /dev/null 2>&1 & disown; exit 0",
        _left,
        without=("pid",),
    ),
    Attempt(
        "orphans/detached-at-exit",
        "javascript",
        f"""
const {{ spawn }} = require('child_process')
process.on('exit', () => spawn('sleep', ['{ORPHAN_S}'], {{ detached: true, stdio: 'ignore' }}).unref())
""",
        _left,
        without=("pid",),
    ),
    Attempt(
        "orphans/after-the-timeout",
        "python",
        _ORPHAN + f"def handler(event):\n    fork_twice()\n    time.sleep({ORPHAN_S})",
        _left,
        without=("pid",),
        request={"timeout": 1},
    ),
    Attempt(
        "orphans/of-a-subreaper",
        "python",
        "import ctypes"
        + _ORPHAN
        + """
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
def handler(event):
    if os.fork() == 0:
        # Orphans below come to this process, not to process 1; and no parent's death is to be heard of.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
        fork_twice()
        stay()
""",
        _left,
        without=("pid",),
    ),
    Attempt(
        "orphans/that-forks-on-and-on",
        "python",
        """
import os, signal, time
def handler(event):
    # Whoever kills one pid after the other comes too late: each lives for a moment only, and leaves a child.
    if os.fork() == 0:
        os.setsid()
        os.closerange(0, 1000)
        until = time.monotonic() + 12
        while time.monotonic() < until:
            try:
                if os.fork():
                    os._exit(0)
            except BlockingIOError:  # who ended and was not waited for counts as well
                pass
            time.sleep(0.01)
        os._exit(0)
""",
        _left,
        without=("pid",),
    ),
)
