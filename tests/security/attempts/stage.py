"""Where attempts are made: namespaces of the test's own, with the world and one executor in them.

``Stage`` starts ``enter``, which becomes an unprivileged user in namespaces that bwrap makes, and goes on there as
``inside``. What an attempt that succeeds can hit is what is in there.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from contracts.executor_api import IsolationLevel
from tests.security.attempts.performance import Performance

ROOT_ONLY: Final = "unprivileged"
"""The protection without which the machine's root stays root: its stage must be root's, too."""
_REPOSITORY: Final = Path(__file__).resolve().parents[3]
_ANSWER_WITHIN_S: Final = 500.0
_ENDS_WITHIN_S: Final = 60.0


class Stage:
    """The test's end of one stage; a context manager."""

    def __init__(self, level: IsolationLevel, as_root: bool = False) -> None:
        """``as_root``: for ``ROOT_ONLY``, and only where the test is root."""
        self.level, self.as_root = level, as_root
        self._place = Path(tempfile.mkdtemp(prefix="attempts-"))
        # Attempts that succeed show what they see: nothing of who runs the tests.
        environment = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
        whose = "root" if as_root else "user"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.security.attempts.enter", level, str(self._place), whose],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=_REPOSITORY,
            start_new_session=True,  # an attacker who signals his process group must not find the test in it
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def make(self, module: str, name: str, beside: str | None = None, without: Sequence[str] = ()) -> Performance:
        """Makes one attempt there, against an executor without these protections (``weakened``).

        ``beside`` is the language of the honest executions that run meanwhile, if any shall.

        Raises:
            RuntimeError: the stage itself fails; its stderr says why.
        """
        asked = {"module": module, "name": name, "beside": beside, "without": list(without)}
        answer = self._ask(json.dumps(asked))
        if "failure" in answer:
            raise RuntimeError(f"the stage failed at {name}: {answer['failure']}")
        return Performance(**answer)

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(_ANSWER_WITHIN_S, self._process.kill)
        watchdog.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{line}\n")
                self._process.stdin.flush()
            answer = self._process.stdout.readline()
        finally:
            watchdog.cancel()
            watchdog.join()
        answered: dict[str, Any] = json.loads(answer) if answer else {"failure": "it has ended"}
        return answered

    def kill(self) -> None:
        """From another thread: whoever waits for an answer gets RuntimeError."""
        self._process.kill()

    def close(self) -> None:
        """Ends it and everything in it, whatever state it is in."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._place)
