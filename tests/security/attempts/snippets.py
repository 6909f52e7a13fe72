"""What attempts share: raw system calls in Python, facts in shell, and the commonest effects."""

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyseccomp

from tests.security.attempts.model import Outcome

if TYPE_CHECKING:
    from tests.security.attempts.world import World

Effect = Callable[["World", Outcome], bool]
_SOON_S: Final = 1.0
_AT_LAST_S: Final = 30.0
"""Where it must come."""

_CALLS = """
import ctypes, errno, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(name, *arguments):
    result = libc.syscall(NUMBERS[name], *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result
def tried(*steps):
    # each of them; how many worked
    worked = 0
    for step in steps:
        try:
            step()
            worked += 1
        except OSError:
            pass
    return worked
def first(*steps):
    # the first that works
    return any(tried(step) for step in steps)
"""

FACTS = r"""
fact() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" "$EVENT_FILE"; }
"""
"""Shell: ``$(fact NAME)`` is one fact of the event, which is one line of flat JSON."""

EVENT = """
const fs = require('fs'), { spawnSync } = require('child_process')
const event = JSON.parse(fs.readFileSync(process.env.EVENT_FILE))
const show = (program, ...options) => {
  const done = spawnSync(program, options, { encoding: 'latin1', timeout: 20000 })
  process.stdout.write(done.stdout || ''); process.stderr.write(done.stderr || String(done.error || ''))
}
"""
"""JavaScript: the event, and a program's output shown."""


def calls(*names: str) -> str:
    """Python: ``call(NAME, …)`` makes the call itself, past what libc checks; ``tried`` goes on where one fails,
    ``first`` only there.

    The numbers are this machine's, by libseccomp's names.
    """
    numbers = {name: int(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)) for name in names}
    return f"NUMBERS = {numbers}\n{_CALLS}"


def soon(effect: Effect) -> Effect:
    """The effect within a second, where the code met no error: signals and ends are not seen at once.

    Where a protection is taken away it must come, and may take as long as it wants.
    """

    def seen(world: "World", outcome: Outcome) -> bool:
        seconds = _AT_LAST_S if world.proving else _SOON_S
        deadline = time.monotonic() + (seconds if outcome.result["status"] != "failed" else 0)
        while not effect(world, outcome):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    return seen


def leaked(*names: str) -> Effect:
    """One of these secrets of the world, or any, came out."""
    return lambda world, outcome: world.leaked(outcome, *names)


def returned(value: Any) -> Effect:
    """Exactly this value was returned: one that the code does not hold and has to get from the kernel."""
    return lambda _world, outcome: bool(outcome.result["return_value"] == value)


def returned_any_of(values: Collection[Any]) -> Effect:
    """The returned list, or the returned object's values, hold one of these."""

    def effect(_world: "World", outcome: Outcome) -> bool:
        found = outcome.result["return_value"] or []
        return any(value in values for value in (found.values() if isinstance(found, dict) else found))

    return effect


def printed(line: str) -> Effect:
    """A line of stdout is exactly this one (stderr may show the code itself)."""
    return lambda _world, outcome: line in outcome.result["stdout"].splitlines()


def kernel_setting(name: str, otherwise: int = 0) -> int:
    """One of ``/proc/sys``; ``otherwise`` where this kernel does not have it."""
    path = Path("/proc/sys", name)
    return int(path.read_text()) if path.exists() else otherwise
