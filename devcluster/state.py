"""What an earlier run started, in a file that a crash cannot leave half written.

A process is known by its id, its start time and the boot it belongs to: an id alone may by now be
somebody else's process, and nothing here ever signals one that it did not start.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Engine = Literal["docker", "own"]
Phase = Literal["starting", "engine", "creating", "ready"]
_FORMAT = 1


@dataclass(frozen=True)
class Process:
    """One process that we started; ``start`` is field 22 of /proc/PID/stat (clock ticks since boot)."""

    pid: int
    start: int
    boot: str


@dataclass(frozen=True)
class State:
    """``phase`` says how far ``up`` has come; only ``ready`` is taken for a whole cluster."""

    engine: Engine
    phase: Phase
    built_image: bool = False
    """The node image is ours, so the cluster has no CNI of kind's."""
    node_image: str | None = None
    nodes: int = 1
    processes: dict[str, Process] = field(default_factory=dict)

    def at(self, phase: Phase) -> State:
        return replace(self, phase=phase)

    def with_process(self, role: str, process: Process) -> State:
        return replace(self, processes={**self.processes, role: process})

    def to_json(self) -> str:
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> State | None:
        """None for anything that this version did not write: the caller then cleans up by name."""
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw.pop("format") != _FORMAT:
                return None
            processes = {role: Process(**p) for role, p in raw.pop("processes").items()}
            return State(processes=processes, **raw)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def load(path: Path) -> State | None:
    try:
        return State.from_json(path.read_text())
    except FileNotFoundError:
        return None


def save(path: Path, state: State) -> None:
    """Readers see the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        file.write(state.to_json())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def start_time(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Clock ticks since boot, or None when there is no such process (or only its zombie)."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the command's name may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id(proc: Path = Path("/proc")) -> str:
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def process(pid: int, proc: Path = Path("/proc")) -> Process | None:
    start = start_time(pid, proc)
    return None if start is None else Process(pid, start, boot_id(proc))


def alive(known: Process, proc: Path = Path("/proc")) -> bool:
    """True only for the very process that was recorded."""
    return known.boot == boot_id(proc) and start_time(known.pid, proc) == known.start
