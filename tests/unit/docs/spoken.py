"""Every reason that the code can give, found in its source: what ``docs/reasons.md`` must explain."""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
_PACKAGES: Final = ("controller", "sandbox_run")
_POSITION: Final = {
    "Rejected": 0,
    "Refused": 0,
    "Refusal": 0,
    "Waits": 0,
    "Relayed": 1,
    "Trouble": 0,
    "make_condition": 2,
    "settled": 0,
    "failed": 0,
    "note": 1,
    "warn": 1,
    "note_pool": 1,
    "warn_pool": 1,
    "tell": 1,
}
"""Whoever is called with a reason → which of its positional arguments that is."""


@dataclass(frozen=True)
class Spoken:
    """A reason as it stands in a call; ``words`` None: not a constant, ``source`` shows the expression."""

    call: str
    words: str | None
    source: str
    where: str


def find_spoken() -> Iterator[Spoken]:
    """All of them, in the controller and in what runs without a cluster."""
    for package in _PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield from _in_call(node, name)


def _in_call(call: ast.Call, module: str) -> Iterator[Spoken]:
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    position = _POSITION.get(called)
    if position is None or len(call.args) <= position:
        return
    argument = call.args[position]
    for choice in (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,):
        yield Spoken(called, _constant(choice, module), ast.unparse(choice), f"{module}:{call.lineno}")


def _constant(node: ast.expr, module: str) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        return _look_up(ast.unparse(node).split("."), module)
    return None


def _look_up(names: list[str], module: str) -> str | None:
    """The value of a module's constant, written as ``NAME`` or ``module.NAME``; None when it is a variable."""
    found: object = importlib.import_module(module)
    for name in names:
        found = getattr(found, name, None)
    return found if isinstance(found, str) and names[-1].isupper() else None
