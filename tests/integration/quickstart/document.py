"""The steps of ``docs/quickstart.md``, and a shell that goes through them as a person would."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
QUICKSTART = ROOT / "docs" / "quickstart.md"
_STEP = re.compile(r"^```sh\n(?P<commands>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_MARK = "--- end of step, exit code "
_MEASURED = re.compile(
    r"\d+\.\d+|(?<=_bytes\":)\d+|(?<=_bytes\": )\d+|\d\d:\d\d:\d\d|(?<=\"isolation\":\")\w+|(?<=\"run_id\":\")\w+"
    r"|(?<=\"limits_enforcement\":\")\w+"
)


@dataclass(frozen=True)
class Step:
    """One block of commands; ``output`` None: the document shows none."""

    commands: str
    output: str | None


@dataclass(frozen=True)
class Done:
    """What a step printed, and the exit code of its last command."""

    output: str
    exit_code: int


def read_steps(text: str) -> list[Step]:
    """The blocks that are fenced as ``sh``; not those as ``sh install`` or ``sh docker``, which a test cannot run."""
    return [Step(found["commands"], found["output"]) for found in _STEP.finditer(text)]


def run_steps(steps: list[Step], names: Mapping[str, str], timeout_s: float = 60.0) -> list[Done]:
    """All of them in one shell, started in the checkout; ``names`` says what stands for the document's own names."""
    script = "".join(f"{step.commands}\nprintf '%s%d\\n' '{_MARK}' $?\n" for step in steps)
    for name, stand_in in names.items():
        script = script.replace(name, stand_in)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    with subprocess.Popen(
        ["bash"],
        cwd=ROOT,
        env={**kept, "ISOLATION_MODE": "best-effort"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            printed, errors = shell.communicate(script, timeout_s)
        finally:
            _end_session(shell.pid)
    if errors:
        printed += f"on stderr: {errors}"
    for name, stand_in in names.items():
        printed = printed.replace(stand_in, name)
    return _split(printed)


def _end_session(leader: int) -> None:
    """Whatever the steps left running belongs to the shell's own process group."""
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


def blank_measurements(output: str) -> str:
    """The same without what differs from run to run: times, durations, bytes, the machine's isolation level."""
    return _MEASURED.sub("…", output).rstrip("\n")


def stand_ins(directory: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """For a test: free ports, a directory of its own, the interpreter that runs the test."""
    return {
        ".venv/bin/python": sys.executable,
        "/tmp/standalone": str(directory),
        **{name: str(port) for name, port in ports.items()},
    }
