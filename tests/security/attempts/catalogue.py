"""All attempts, from the modules of this package that have some."""

import importlib
import importlib.util
from typing import Final

from tests.security.attempts.model import Attempt

MODULES: Final = (
    "network",
    "processes",
    "orphans",
    "sharing",
    "files",
    "kernel",
    "machine",
    "namespaces",
    "privileges",
    "descriptors",
    "bombs",
    "forgery",
    "artifacts",
    "leftovers",
    "given",
)


def load(module: str) -> tuple[Attempt, ...]:
    """One module's ``ATTEMPTS``."""
    found: tuple[Attempt, ...] = importlib.import_module(f"{__package__}.{module}").ATTEMPTS
    return found


def load_all() -> dict[str, tuple[Attempt, ...]]:
    """Module → its attempts."""
    names = [name for name in MODULES if importlib.util.find_spec(f"{__package__}.{name}")]
    return {name: load(name) for name in names}


def find(module: str, name: str) -> Attempt:
    """One attempt by its module and name. Raises KeyError."""
    return {attempt.name: attempt for attempt in load(module)}[name]
