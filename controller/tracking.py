"""What the controller remembers of each Execution that has not ended, and briefly of those that have.

Nothing here is durable: all of it can be made again from the API server and the executors.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from contracts.execution import ExecutionStatus, Phase
from contracts.executor_api import ExecutionLimits
from controller.resources import Execution

_RECENT: Final = 20_000
GRACE_S: Final = 30.0
"""How long past its timeout an Execution may stay Running before its executor is asked a last time."""


Mark = tuple[str, int | None]
"""The reason and the exit code of a result."""


class Stage(Enum):
    """Where the pipeline has an Execution."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(slots=True)
class Tracked:
    """One unfinished Execution: the object as last read or written, and where the pipeline has it."""

    execution: Execution
    stage: Stage = Stage.WAITING
    limits: ExecutionLimits | None = None
    seen: datetime | None = None
    pod_url: str = ""
    stop_wanted: bool = False
    kill_begun: bool = False
    told_queued: bool = False
    deleted: bool = False
    """It is gone from the API server, or (``no_room``) nothing can be written to it any more."""
    no_room: bool = False
    deadline: datetime | None = None
    last_beat_written: datetime | None = None
    last_beat_relayed: datetime | None = None
    heard: datetime | None = None
    """When its executor was last heard of: a heartbeat, an answer, or the claim or adoption that began it."""
    ask_after: datetime | None = None
    """When its silent executor is asked next; None while it is being asked."""
    dispatched: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether no dispatch of our own is under way any more."""
    may_begin: bool = True
    """Its attempt may never have reached its executor: that was not seen to know it, and has not refused it."""
    grace_s: float = GRACE_S
    uploads: dict[str, int] = field(default_factory=dict)
    """What its attempt was given URLs for: sha256 → bytes."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def uid(self) -> str:
        """The object's uid, which is the key everywhere."""
        return self.execution.uid

    @property
    def status(self) -> ExecutionStatus:
        """The status as it was last read or written."""
        return self.execution.status

    @property
    def attempt(self) -> int:
        """The attempt that runs, or the last one; 0 before the first."""
        return self.execution.status.attempt or 0

    def written(self, status: ExecutionStatus, resource_version: str) -> None:
        """Takes over what the API server has accepted."""
        self.execution = replace(self.execution, status=status, resource_version=resource_version)

    def observe(self, execution: Execution) -> None:
        """Takes over an object from a watch or a read, unless it is older than what is known."""
        if is_newer(execution.resource_version, self.execution.resource_version):
            self.execution = execution

    def hear(self, now: datetime) -> None:
        """Its executor is there."""
        self.heard = self.ask_after = now

    def begin(self, now: datetime) -> None:
        """It is given to its executor now: from here on it is expected to end, and to be heard of."""
        self.deadline = now + timedelta(seconds=self.execution.spec.timeout_seconds + self.grace_s)
        self.hear(now)

    def expect_end(self, now: datetime, within_s: float | None = None) -> None:
        """Sets the deadline after which the executor is asked: the timeout and a grace, or sooner."""
        if within_s is not None:
            sooner = now + timedelta(seconds=within_s)
            self.deadline = min(self.deadline, sooner) if self.deadline else sooner
            return
        start = self.status.start_time or now
        self.deadline = start + timedelta(seconds=self.execution.spec.timeout_seconds + self.grace_s)


def is_newer(version: str, than: str) -> bool:
    """Resource versions of one kind can be ordered as numbers (KEP-5504); where they are none, the last read wins."""
    return int(version) > int(than) if version.isdigit() and than.isdigit() else version != than


def is_older(version: str, than: str) -> bool:
    """The other way about; the last read is no older where they are no numbers."""
    return version != than and not is_newer(version, than)


@dataclass(frozen=True, slots=True)
class Ended:
    """What is remembered of an Execution that has ended: enough to tell a repeated report from a contradiction."""

    uid: str
    attempt: int
    phase: Phase
    report: Mark | None = None


class Registry:
    """Unfinished Executions by uid and by execution id, and the last ones that ended."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._tracked: dict[str, Tracked] = {}
        self._uid_of: dict[str, str] = {}
        self._recent: OrderedDict[str, Ended] = OrderedDict()
        self._recent_uids: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tracked)

    def __iter__(self) -> Iterator[Tracked]:
        return iter(list(self._tracked.values()))

    def add(self, execution: Execution) -> Tracked:
        """Begins to follow an Execution."""
        tracked = Tracked(execution, grace_s=self._grace_s)
        self._tracked[execution.uid] = tracked
        self._uid_of.setdefault(execution.execution_id, execution.uid)
        return tracked

    def get(self, uid: str) -> Tracked | None:
        """The unfinished Execution with this uid."""
        return self._tracked.get(uid)

    def owner(self, execution_id: str) -> Tracked | None:
        """The unfinished Execution that this execution id belongs to."""
        return self._tracked.get(self._uid_of.get(execution_id, ""))

    def give_id(self, tracked: Tracked) -> None:
        """Makes an Execution the owner of its execution id."""
        self._uid_of[tracked.execution.execution_id] = tracked.uid

    def drop(self, tracked: Tracked, ended: Ended | None, *, forget: bool = False) -> None:
        """Ends following; ``ended`` is None when the object is gone. ``forget``: it may come back."""
        self._tracked.pop(tracked.uid, None)
        execution_id = tracked.execution.execution_id
        if self._uid_of.get(execution_id) == tracked.uid:
            del self._uid_of[execution_id]
            if ended is not None:
                self._recent[execution_id] = ended
        if not forget:
            self._recent_uids[tracked.uid] = None
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        while len(self._recent_uids) > _RECENT:
            self._recent_uids.popitem(last=False)

    def was_dropped(self, uid: str) -> bool:
        """Whether this one was followed lately and is no longer: a late watch event must not bring it back."""
        return uid in self._recent_uids

    def ended(self, execution_id: str) -> Ended | None:
        """How the Execution with this id ended, if that was lately."""
        return self._recent.get(execution_id)
