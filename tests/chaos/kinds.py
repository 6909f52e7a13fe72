"""The kinds of Executions that a run creates: what each runs, what becomes of it, and how often it comes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox_executor_client import Execution

NEIGHBOURS_POOL: Final = "neighbours"
"""Its executors are never broken; what runs there must not notice."""
SESSIONS: Final = 3

_RETURNS = "def handler(event):\n    print('hello')\n    return event\n"
_RAISES = "def handler(event):\n    raise ValueError('no')\n"
_SLEEPS = "import time\ndef handler(event):\n    time.sleep(event['seconds'])\n    return event\n"
_LARGE = "def handler(event):\n    print('x' * 200_000)\n    return event\n"
_COUNTS = (
    "import pathlib, time\n"
    "def handler(event):\n"
    "    file = pathlib.Path('turn')\n"
    "    turn = int(file.read_text()) + 1 if file.exists() else 1\n"
    "    time.sleep(0.3)\n"
    "    file.write_text(str(turn))\n"
    "    return turn\n"
)
_SHELL = 'read -r line\necho "shell $line"\n'
_JAVASCRIPT = "console.log('javascript ' + (6 * 7))\n"


@dataclass(frozen=True)
class Kind:
    """One kind. ``weight``: how often it comes, beside the others."""

    name: str
    weight: int
    fields: Mapping[str, Any]
    expected: frozenset[str]
    """Phases that it may end in, where nothing crashed."""
    stop: str = ""
    """``cancel`` or ``delete``: what its creator does some seconds later."""
    neighbour: bool = False
    says: Callable[[Execution], str] = field(default=lambda execution: "")
    """What is untrue in the status of one that has succeeded; empty: nothing."""


def _echoes(execution: Execution) -> str:
    wanted = execution.spec.get("event")
    return "" if execution.return_value == wanted else f"it returned {execution.return_value!r} and not {wanted!r}"


def _prints(text: str) -> Callable[[Execution], str]:
    def look(execution: Execution) -> str:
        return "" if execution.stdout.strip() == text else f"it printed {execution.stdout[:80]!r} and not {text!r}"

    return look


def _of(*phases: str) -> frozenset[str]:
    return frozenset(phases)


_SLEEPER = {"code": _SLEEPS, "event": {"seconds": 20}}
KINDS: Final = (
    Kind("returns", 6, {"code": _RETURNS}, _of("Succeeded"), says=_echoes),
    Kind("neighbour", 4, {"code": _RETURNS, "pool": NEIGHBOURS_POOL}, _of("Succeeded"), neighbour=True, says=_echoes),
    Kind("raises", 2, {"code": _RAISES}, _of("Failed")),
    Kind("sleeps", 2, {"code": _SLEEPS, "event": {"seconds": 2}}, _of("Succeeded"), says=_echoes),
    Kind("runs on", 1, {"code": _SLEEPS, "event": {"seconds": 8}, "max_retries": 1}, _of("Succeeded"), says=_echoes),
    Kind(
        "is tried again",
        4,
        {"code": _SLEEPS, "event": {"seconds": 5}, "max_retries": 2},
        _of("Succeeded"),
        says=_echoes,
    ),
    Kind("times out", 1, {**_SLEEPER, "timeout_seconds": 2}, _of("TimedOut")),
    Kind("is cancelled", 2, _SLEEPER, _of("Cancelled", "Succeeded"), stop="cancel"),
    Kind("is deleted", 1, _SLEEPER, _of("Cancelled", "Succeeded"), stop="delete"),
    Kind("is removed", 2, {"code": _RETURNS, "ttl_seconds_after_finished": 3}, _of("Succeeded"), says=_echoes),
    Kind("is large", 1, {"code": _LARGE}, _of("Succeeded"), says=_echoes),
    Kind("has a turn", 2, {"code": _COUNTS}, _of("Succeeded")),
    Kind(
        "shell",
        1,
        {"code": _SHELL, "language": "shell", "stdin": "input\n"},
        _of("Succeeded"),
        says=_prints("shell input"),
    ),
    Kind(
        "javascript",
        1,
        {"code": _JAVASCRIPT, "language": "javascript"},
        _of("Succeeded"),
        says=_prints("javascript 42"),
    ),
)
