"""What this executor knows of each execution id: the reason why nothing ever runs twice.

Three ages, each with a bound on memory. *Active* ones have a task and clients that wait. *Recent*
ones have their result for whoever asks again. *Faded* ones have lost their result and keep the
digest and the status for 24 h, so that a late repeat is refused instead of run.

Besides these there are *tombstones*. Who asks about an unknown attempt before it gives up on it (a
controller after a failover) leaves one, so that a request still on its way is refused when it lands.
Nothing of this outlives the process, and need not: requests that a controller sent to an earlier run
of the executor are refused by its run id (``fencing``).
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from contracts.executor_api import (
    ExecutionRequest,
    ExecutionState,
    Language,
    Reason,
    ResultStatus,
    request_digest_fields,
)
from executor_runtime.clock import Clock
from executor_runtime.queue import Ticket
from executor_runtime.retention import Left
from executor_runtime.sandbox import Output
from executor_runtime.workspace import Workspace

MAX_RESULT_BYTES: Final = 64 * 1_048_576
MAX_RESULTS: Final = 1_000
MAX_OUTPUT_BYTES: Final = 32 * 1_048_576
"""Of the output of ended executions, as it was read, so that who follows one gets it to its end."""
MAX_FADED: Final = 100_000
FADED_AGE_S: Final = 24 * 3600.0
MAX_TOMBSTONES: Final = 100_000

State = Literal["queued", "running", "ended"]


def digest_request(request: ExecutionRequest) -> bytes:
    """Equal for two requests that ask for the same; the report token is not part of it."""
    canonical = json.dumps(request_digest_fields(request), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()


@dataclass(eq=False, slots=True)
class Record:
    """One execution from its acceptance until its result fades."""

    execution_id: str
    digest: bytes
    language: Language
    report_token: str | None
    ticket: Ticket
    accepted_at: float
    """Monotonic seconds."""
    epoch: int | None = None
    """Of the controller that sent it; None: none did."""
    attempt: int = 1
    owner: str | None = None
    """The uid of the Execution; None: no controller sent it."""
    state: State = "queued"
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    interrupted: bool = False
    """The executor is about to exit: how this run ends is not the code's doing."""
    workspace: Workspace | None = None
    left: Left = Left()
    """What it leaves there."""
    status: ResultStatus | None = None
    """Set at the end, but not for an interrupted one."""
    reason: Reason | None = None
    exit_code: int | None = None
    message: str = ""
    output: Output = field(default_factory=Output)
    body: bytes | None = None
    """The result as JSON, as every client gets it."""

    def describe(self) -> ExecutionState:
        """The state without the result."""
        return ExecutionState(execution_id=self.execution_id, state=self.state, epoch=self.epoch, attempt=self.attempt)

    def encode(self) -> tuple[bytes, ...]:
        """The ``ExecutionState`` as JSON, in pieces: the result is one of them as it is, for it may have megabytes."""
        epoch = b"null" if self.epoch is None else b"%d" % self.epoch
        head = b'{"execution_id":"%b","state":"%b","epoch":%b,"attempt":%d,"result":' % (
            self.execution_id.encode(),
            self.state.encode(),
            epoch,
            self.attempt,
        )
        return head, b"null" if self.body is None else self.body, b"}"


@dataclass(frozen=True, slots=True)
class Faded:
    """What is left of an execution that ended long ago."""

    execution_id: str
    digest: bytes
    status: ResultStatus | None
    ended_at: float
    attempt: int = 1

    def encode(self) -> tuple[bytes, ...]:
        """The ``ExecutionState`` as JSON: it has ended, and its result is no longer held."""
        state = ExecutionState(execution_id=self.execution_id, state="ended", attempt=self.attempt)
        return (state.model_dump_json().encode(),)


class Records:
    """Execution id → what is known of it."""

    def __init__(
        self,
        clock: Clock,
        max_result_bytes: int = MAX_RESULT_BYTES,
        max_results: int = MAX_RESULTS,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        max_faded: int = MAX_FADED,
        max_tombstones: int = MAX_TOMBSTONES,
    ) -> None:
        self._clock = clock
        self._max_result_bytes = max_result_bytes
        self._max_results = max_results
        self._max_output_bytes = max_output_bytes
        self._max_faded = max_faded
        self._max_tombstones = max_tombstones
        self._active: dict[str, Record] = {}
        self._recent: OrderedDict[str, Record] = OrderedDict()
        self._recent_bytes = 0
        self._outputs: OrderedDict[str, Output] = OrderedDict()
        self._output_bytes = 0
        self._faded: OrderedDict[str, Faded] = OrderedDict()
        self._tombstones: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Execution id → the last attempt that must not begin, and when that was said."""

    def find(self, execution_id: str) -> Record | Faded | None:
        """Whatever is known of this id."""
        return self._active.get(execution_id) or self._recent.get(execution_id) or self._faded.get(execution_id)

    def add(self, record: Record) -> None:
        """A new execution; its id must be unknown."""
        self._active[record.execution_id] = record

    def bury(self, execution_id: str, attempt: int) -> Record | Faded | None:
        """What is known of this attempt; None, and a tombstone for another 24 h, when it never ran here."""
        known = self.find(execution_id)
        if known is not None and known.attempt == attempt:
            return known
        last, _ = self._tombstones.pop(execution_id, (attempt, 0.0))
        self._tombstones[execution_id] = (max(last, attempt), self._clock.monotonic())
        self._forget_tombstones()
        return None

    def is_buried(self, execution_id: str, attempt: int) -> bool:
        """Whether this attempt must not begin: it was given up, or a later one has begun."""
        known = self.find(execution_id)
        last, _ = self._tombstones.get(execution_id, (0, 0.0))
        return attempt <= last or (known is not None and attempt < known.attempt)

    def forget(self, execution_id: str) -> None:
        """An earlier attempt that has ended makes room for the next."""
        record = self._recent.pop(execution_id, None)
        if record is not None:
            self._recent_bytes -= len(record.body or b"")
            self._forget_output(execution_id)
        self._faded.pop(execution_id, None)

    def settle(self, record: Record) -> None:
        """The execution has ended: from now on its result may fade, the oldest first."""
        self._active.pop(record.execution_id, None)
        self._recent[record.execution_id] = record
        self._recent_bytes += len(record.body or b"")
        self._outputs[record.execution_id] = record.output
        self._output_bytes += record.output.held_bytes
        while len(self._outputs) > 1 and self._output_bytes > self._max_output_bytes:
            self._forget_output(self._least_wanted_output())
        while len(self._recent) > self._max_results or self._recent_bytes > self._max_result_bytes:
            self._fade(self._recent.popitem(last=False)[1])
        self._forget_faded()

    def active(self) -> list[Record]:
        """Those that have not ended, oldest first."""
        return list(self._active.values())

    def __iter__(self) -> Iterator[Record]:
        """Active and recent ones, by the time of their acceptance."""
        return iter(sorted((*self._recent.values(), *self._active.values()), key=lambda record: record.accepted_at))

    def _least_wanted_output(self) -> str:
        """The oldest that nobody follows, but not the last one; else the oldest."""
        *earlier, _last = self._outputs
        return next((each for each in earlier if not self._outputs[each].is_wanted), earlier[0])

    def _forget_output(self, execution_id: str) -> None:
        output = self._outputs.pop(execution_id, None)
        if output is not None:
            self._output_bytes -= output.held_bytes
            output.forget()

    def _fade(self, record: Record) -> None:
        self._recent_bytes -= len(record.body or b"")
        self._forget_output(record.execution_id)
        self._faded[record.execution_id] = Faded(
            record.execution_id, record.digest, record.status, self._clock.monotonic(), record.attempt
        )

    def _forget_faded(self) -> None:
        oldest = self._clock.monotonic() - FADED_AGE_S
        while self._faded:
            first = next(iter(self._faded.values()))
            if len(self._faded) <= self._max_faded and first.ended_at >= oldest:
                return
            del self._faded[first.execution_id]

    def _forget_tombstones(self) -> None:
        oldest = self._clock.monotonic() - FADED_AGE_S
        while self._tombstones:
            execution_id, (_, said_at) = next(iter(self._tombstones.items()))
            if len(self._tombstones) <= self._max_tombstones and said_at >= oldest:
                return
            del self._tombstones[execution_id]
