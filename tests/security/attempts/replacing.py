"""How parts of the executor are replaced in the process in which they run (``weakened``)."""

import importlib
import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from executor_runtime.sandbox import start as starting
from executor_runtime.sandbox.argv import Start

probe = importlib.import_module("executor_runtime.sandbox.probe")  # its package has a function of that name
_UNSHARED: Final = ("user", "pid", "net", "ipc", "uts", "cgroup-try")


def change_argv(change: Callable[[list[str], Start], list[str]]) -> None:
    """Each run's bwrap command line becomes what ``change`` makes of it."""
    build: Callable[[Start], list[str]] = vars(starting)["build_argv"]

    def changed(start: Start) -> list[str]:
        return change(build(start), start)

    replace(starting, "build_argv", changed)


def change_init(old: str, new: str) -> None:
    """In the source of process 1."""
    source = probe._INIT_SOURCE.read_text()
    if old not in source:
        raise LookupError(f"init.py has no {old!r} any more: weakened.py must follow it")
    changed = source.replace(old, new)
    replace(probe, "_INIT_SOURCE", SimpleNamespace(read_text=lambda: changed))


def replace(owner: Any, name: str, value: object) -> None:
    """Sets an attribute that is there: a name that the product has lost would weaken nothing."""
    getattr(owner, name)
    setattr(owner, name, value)


def drop_option(name: str, values: int = 0) -> None:
    """Takes an option of bwrap, and the values behind it, out of the command line."""

    def change(argv: list[str], _start: Start) -> list[str]:
        argv = expand_namespaces(argv)
        at = argv.index(name)
        return argv[:at] + argv[at + 1 + values :]

    change_argv(change)


def change_popen(**changed: Any) -> None:
    """How bwrap is started (``subprocess.Popen``)."""
    before = subprocess.Popen

    class Changed(before):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, **changed})

    replace(subprocess, "Popen", Changed)


def last_remount(argv: list[str]) -> int:
    """Where the root becomes read-only: the last place for a mount."""
    return len(argv) - 1 - argv[::-1].index("--remount-ro")


def expand_namespaces(argv: list[str]) -> list[str]:
    """``--unshare-all`` (and the ``--unshare-user`` beside it) as one option a namespace."""
    if "--unshare-all" not in argv:
        return argv
    at = argv.index("--unshare-all")
    rest = [argument for argument in argv[at + 1 :] if argument != "--unshare-user"]
    return [*argv[:at], *(f"--unshare-{name}" for name in _UNSHARED), *rest]
