"""Commands as a reader of the documentation would type them: all in one shell."""

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_MARK: Final = "--- end of block, exit code "


@dataclass(frozen=True)
class Done:
    """What a block of commands printed, and the exit code of its last command."""

    output: str
    exit_code: int


def run_in_one_shell(
    blocks: Iterable[str],
    timeout_s: float,
    *,
    stderr: int = subprocess.STDOUT,
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> list[Done]:
    """What each of them gave; with ``stderr=subprocess.PIPE`` what came there stands at the end as one that failed.

    Args:
        folder: where they begin; the checkout.
        environment: variables beside the few that are passed on, or instead of them.

    Raises:
        subprocess.TimeoutExpired: they took longer.
    """
    script = "".join(f"{commands}\nprintf '%s%d\\n' '{_MARK}' $?\n" for commands in blocks)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    with subprocess.Popen(
        ["bash"],
        cwd=folder,
        env={**kept, "ISOLATION_MODE": "best-effort", **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            printed, errors = shell.communicate(script, timeout_s)
        finally:
            _end_session(shell.pid)
    return _split(printed + (f"on stderr: {errors}" if errors else ""))


def _end_session(leader: int) -> None:
    """Whatever the commands left running belongs to the shell's own process group."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _split(printed: str) -> list[Done]:
    *parts, rest = re.split(rf"^{re.escape(_MARK)}(\d+)\n", _separate(printed), flags=re.MULTILINE)
    done = [Done(output, int(code)) for output, code in zip(parts[::2], parts[1::2], strict=True)]
    return [*done, Done(rest, 1)] if rest else done


def _separate(printed: str) -> str:
    """An answer without a newline at its end would stand in one line with the mark."""
    return re.sub(rf"(?<=[^\n]){re.escape(_MARK)}", f"\n{_MARK}", printed)
