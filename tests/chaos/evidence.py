"""What a run leaves behind for the checker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Start:
    """An executor has begun to run code: from its own log, out of the sandbox's reach."""

    execution_id: str
    attempt: int
    executor_run: str
    """Which run of which executor process."""


@dataclass(frozen=True)
class Write:
    """An accepted write of an Execution's status: from the API server's audit log, in its order."""

    uid: str
    phase: str
    attempt: int
    at: float


@dataclass(frozen=True)
class Removal:
    """An Execution was deleted; ``by_controller``: because its time was over."""

    uid: str
    by_controller: bool
    at: float


@dataclass(frozen=True)
class Told:
    """A result that the Control Plane received, and how it answered."""

    execution_id: str
    status: str
    answered: int
    at: float
    end: str = ""
    """All that was said of the end but for what a status may keep a part of."""
    in_part: bool = False
    """It says itself that something is cut off."""


@dataclass(frozen=True)
class Final:
    """An Execution as the API server has it in the end, or had it last. Times are Unix seconds."""

    uid: str
    execution_id: str
    phase: str
    attempt: int
    max_retries: int
    reported: bool
    """Whether its condition Reported says that nothing is left to tell."""
    created_at: float
    finished_at: float | None
    bound_s: float
    """Within which it must have ended; time in which something was broken is not counted."""
    present: bool = True
    deleted_by_user: bool = False
    expected: frozenset[str] = frozenset()
    """Phases that its code allows, where nothing crashed; empty: any."""
    untrue: str = ""
    """What its status says that its code cannot have said; empty: nothing."""
    neighbour: bool = False
    """Whether it ran where nothing was broken: it must not notice what happens elsewhere."""
    session: str = ""
    turn: int | None = None
    """In a session: the number that its code found in the workspace and counted up."""


@dataclass(frozen=True)
class ContainerRun:
    """One run of an executor's container that has ended."""

    pod: str
    container_id: str
    shown: tuple[float, float] | None
    """From when to when it ran and its pod's status said so (Unix seconds). None: it was cut off from its start until
    its pod was deleted, and nobody knows of it."""


@dataclass(frozen=True)
class Outage:
    """Something was broken, or others were still taking over (Unix seconds)."""

    begun: float
    ended: float
    unwatched: bool = False
    """Whether no controller was there that saw what pods there are, and was able to write it down."""


@dataclass
class Evidence:
    """Everything."""

    outages: list[Outage] = field(default_factory=list)
    finals: list[Final] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    ended_containers: list[ContainerRun] = field(default_factory=list)
    exited: list[Mapping[str, Any]] = field(default_factory=list)
    """Bodies of the ``container_exited`` calls that the Control Plane took, repeats by the same key left out."""
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    """Processes, namespaces, descriptors, spools, busy slots, processes of ours that do not run: before the first and
    after the last Execution."""
    relayed: bool = True
    """Whether a Control Plane was configured."""
