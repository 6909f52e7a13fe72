"""Python code as a handler or as a plain script: what executors run is a handler.

An executor runs Python code as ``__main__``, then calls its ``handler(event)``; without one the run fails with
HandlerMissing. A script of ``print`` lines gets one that does nothing, in a line after its own last one, so that all
line numbers stay.
"""

import ast
import warnings
from collections.abc import Iterator
from typing import Final, Literal

from contracts.executor_api import Language

ProgramKind = Literal["auto", "handler", "script"]
"""``handler``: the code goes as it is. ``script``: nothing that it calls ``handler`` is called. ``auto``: see below."""

_MARK: Final = "# added: a plain script has no handler(event) to call"
_ALWAYS: Final = f"handler = lambda event: None  {_MARK}\n"
_UNLESS_CALLABLE: Final = (
    f'handler = globals()["handler"] if callable(globals().get("handler")) else lambda event: None  {_MARK}\n'
)


def as_program(code: str, language: Language, kind: ProgramKind = "auto") -> str:
    """The code that an executor can run.

    ``auto`` takes Python code for a handler when its top level defines a function ``handler`` that can be called with
    one argument; a function of that name that needs more (as signal handlers do) is the script's own affair. Where
    ``handler`` comes from elsewhere (an import, an assignment), it is called if it can be, once the code has run.
    Code that is not Python here, be it an error or a newer Python, goes as it is: the sandbox says what is wrong.
    """
    if language != "python" or kind == "handler":
        return code
    if kind == "script":
        return _append(code, _ALWAYS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            functions = list(_handlers(ast.parse(code).body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    if not functions:
        return _append(code, _UNLESS_CALLABLE)
    return code if any(_takes_one(function.args) for function in functions) else _append(code, _ALWAYS)


def _append(code: str, line: str) -> str:
    return f"{code}{'' if not code or code.endswith(chr(10)) else chr(10)}{line}"


def _handlers(statements: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions named ``handler`` at module level, also below ``if``, ``try``, ``with`` and loops."""
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            if statement.name == "handler":
                yield statement
        elif not isinstance(statement, ast.ClassDef):
            for part in ast.iter_child_nodes(statement):
                if isinstance(part, ast.stmt):
                    yield from _handlers([part])
                elif isinstance(part, ast.ExceptHandler | ast.match_case):
                    yield from _handlers(part.body)


def _takes_one(arguments: ast.arguments) -> bool:
    """Whether one positional argument is not too few; too many is for Python to say, in the sandbox."""
    needed = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return needed <= 1 and None not in arguments.kw_defaults
