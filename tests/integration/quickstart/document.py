"""The steps of ``docs/quickstart.md``, and a shell that goes through them as a person would."""

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.shell import ROOT, Done, run_in_one_shell

QUICKSTART = ROOT / "docs" / "quickstart.md"
_STEP = re.compile(r"^```sh\n(?P<commands>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_MEASURED = re.compile(
    r"\d+\.\d+|(?<=_bytes\":)\d+|(?<=_bytes\": )\d+|\d\d:\d\d:\d\d|(?<=\"isolation\":\")\w+|(?<=\"run_id\":\")\w+"
    r"|(?<=\"limits_enforcement\":\")\w+"
)


@dataclass(frozen=True)
class Step:
    """One block of commands; ``output`` None: the document shows none."""

    commands: str
    output: str | None


def read_steps(text: str) -> list[Step]:
    """The blocks that are fenced as ``sh``; not those as ``sh install`` or ``sh docker``, which a test cannot run."""
    return [Step(found["commands"], found["output"]) for found in _STEP.finditer(text)]


def run_steps(steps: list[Step], names: Mapping[str, str], timeout_s: float = 280.0) -> list[Done]:
    """All of them in one shell, started in the checkout; ``names`` says what stands for the document's own names."""
    done = run_in_one_shell((_rename(step.commands, names) for step in steps), timeout_s, stderr=subprocess.PIPE)
    back = {stand_in: name for name, stand_in in names.items()}
    return [Done(_rename(each.output, back), each.exit_code) for each in done]


def _rename(text: str, names: Mapping[str, str]) -> str:
    for name, other in names.items():
        text = text.replace(name, other)
    return text


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
