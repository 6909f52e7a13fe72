"""Runs a chaos program for a test; who leaves earlier, or waits too long, lets it take down what it has put up."""

import subprocess
import sys
from typing import Final

from tests.shell import ROOT

_TIDY_S: Final = 300.0


def run_chaos(module: str, *words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """In a process of its own: it adopts orphans, so that it can count them.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            process.terminate()
            process.communicate(timeout=_TIDY_S)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
