"""The floor under every execution: the bare bwrap of a sandbox and the interpreter in it, without a service."""

import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from executor_runtime.sandbox.argv import Start, build_argv
from executor_runtime.sandbox.probe import find_bwrap, find_links, has_alternatives

UNPRIVILEGED_ID = 1000
_PYTHONS = ("/usr/local/bin/python3", "/usr/bin/python3")
_NODES = ("/usr/local/bin/node", "/usr/bin/node")


def _first(paths: tuple[str, ...]) -> str:
    return next(path for path in paths if os.path.exists(path))


class Floor:
    """As the uid that an executor has, with the options that an execution has."""

    def __init__(self, directory: Path) -> None:
        workspace = directory / "floor"
        workspace.mkdir()
        workspace.chmod(0o777)
        argv = build_argv(
            Start(
                level="full",
                bwrap=find_bwrap(),
                interpreter="",
                workspace=str(workspace),
                tmp_bytes=64 * 2**20,
                links=find_links(),
                alternatives=has_alternatives(),
                job_fd=-1,
                seccomp_fd=-1,
                info_fd=-1,
            )
        )
        for option in ("--seccomp", "--info-fd"):
            at = argv.index(option)
            del argv[at : at + 2]
        self._bwrap = argv[: argv.index("--") + 1]
        self._commands = {
            "python": [_first(_PYTHONS), "-I", "-S", "-c", "pass"],
            "javascript": [_first(_NODES), "-e", "0"],
            "shell": ["/usr/bin/bash", "-c", ":"],
        }
        self._options: dict[str, Any] = {"check": True, "stdin": subprocess.DEVNULL, "cwd": "/"}
        if os.geteuid() == 0:
            self._options |= {"user": UNPRIVILEGED_ID, "group": UNPRIVILEGED_ID, "extra_groups": []}

    def run(self, language: str = "python") -> float:
        """Milliseconds of one start and end."""
        begun = time.perf_counter()
        subprocess.run([*self._bwrap, *self._commands[language]], env={}, **self._options)
        return (time.perf_counter() - begun) * 1000

    def run_many(self, count: int) -> float:
        """Starts a second, of ``count``, two at a time as fast as xargs starts them."""
        command = shlex.join([*self._bwrap, *self._commands["python"]])
        begun = time.perf_counter()
        pipeline = f"seq {count} | xargs -P 2 -I{{}} {command}"
        subprocess.run(["/bin/sh", "-c", pipeline], env={"PATH": "/usr/bin:/bin"}, **self._options)
        return count / (time.perf_counter() - begun)
