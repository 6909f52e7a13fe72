"""Short commands whose output is an answer; long ones are ``progress.Step``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster.errors import StepFailed


def output(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout_s: float = 120.0,
) -> str:
    """Standard output; raises StepFailed with standard error when the command fails or hangs."""
    words = [str(word) for word in command]
    try:
        done = _run(words, env, stdin, timeout_s)
    except subprocess.TimeoutExpired:
        raise StepFailed(f"{' '.join(words)}: no answer within {timeout_s:.0f} s") from None
    except OSError as error:
        raise StepFailed(f"{' '.join(words)}: {error}") from error
    if done.returncode:
        raise StepFailed(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def succeeds(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout_s: float = 20.0) -> bool:
    """Whether the command is there, ends within the time and exits 0."""
    try:
        return _run([str(word) for word in command], env, None, timeout_s).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run(
    words: list[str], env: Mapping[str, str] | None, stdin: str | None, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env={**os.environ, **(env or {})},
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
