"""``sandbox-run``, ``python -m sandbox_run`` and ``kubectl-exn``: starts the command line where its libraries are."""

import sys
from importlib.util import find_spec

_EXTRA = "sandbox-executor[cli]"
_LIBRARIES = ("click", "rich")


def main() -> int:
    """The exit code of ``sandbox-run``."""
    return _start("main")


def kubectl_main() -> int:
    """The exit code of ``kubectl exn``."""
    return _start("kubectl_main")


def kubectl_complete() -> int:
    """What kubectl calls for completions of ``kubectl exn``."""
    return _start("kubectl_complete")


def _start(name: str) -> int:
    missing = next((library for library in _LIBRARIES if find_spec(library) is None), None)
    if missing is not None:
        sys.stderr.write(f"sandbox-run: {missing} is not installed; the extra has it: pip install '{_EXTRA}'\n")
        return 2
    try:
        from sandbox_run import cli

        code: int = getattr(cli, name)()
    except KeyboardInterrupt:  # before or after a command; within one it is the command's own affair
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
