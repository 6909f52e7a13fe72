"""What an attempt is: code, the effect that it must not have, and what has to be taken away for it to succeed.

An attempt says nothing about itself: whether it succeeded is judged from outside, by what came out of the
sandbox and by what happened to the world that the test made (``world.World``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from contracts.executor_api import IsolationLevel, Language

if TYPE_CHECKING:
    from tests.security.attempts.world import World

Levels = tuple[IsolationLevel, ...]
BOTH: Levels = ("full", "reduced")


@dataclass(frozen=True)
class Outcome:
    """What the public API gave for one attempt."""

    result: Mapping[str, Any]
    """The ExecutionResult's JSON."""
    artifacts: Mapping[str, bytes]
    """Listed path → the bytes that ``GET …/artifacts/{path}`` answered with (of the first 50)."""
    elapsed_s: float

    @property
    def everything(self) -> str:
        """All that the attacker can read afterwards, as one text."""
        return str(dict(self.result)) + "".join(body.decode("latin-1") for body in self.artifacts.values())


@dataclass(frozen=True)
class Attempt:
    """One attack.

    ``code`` gets ``World.facts()`` as its event: Python as ``handler(event)``, JavaScript and shell as the JSON file
    that ``EVENT_FILE`` names. ``effect`` is True when the attack did what it is for; it must be False.
    """

    name: str
    """``area/what``, unique."""
    language: Language
    code: str
    effect: "Callable[[World, Outcome], bool]"
    without: tuple[str, ...] = ()
    """Protections (``weakened.PROTECTIONS``) without which the effect is seen: the proof that it can be."""
    unproved: str = ""
    """Why it is not safe, or not possible on any machine, to show it succeed; only where ``without`` is empty."""
    levels: Levels = BOTH
    request: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the request: ``timeout``, ``limits``, ``session_id``, ``stdin``, ``env_vars``."""
    then: "tuple[Attempt, ...]" = ()
    """Made after it, in order, on the same executor (and session): what is left over for the next one. The effect is
    asked of the last one's outcome."""
