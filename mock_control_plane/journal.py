"""What was received, in memory, and of that only so much that a long demonstration does not fill it."""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, JsonValue

from contracts.control_plane_api import ContainerExited, ContainerReady, Heartbeat, ResultReport

Kind = Literal["ready", "heartbeat", "result", "exited"]
Report = ContainerReady | Heartbeat | ResultReport | ContainerExited

MAX_ENTRIES: Final = 500
MAX_RESULTS_KNOWN: Final = 50_000
"""Ids whose results are told from other ones: 201, 200 or 409."""
MAX_SHOWN_CHARS: Final = 4_096
"""Kept of each stream and of a return value, from its end."""


@dataclass(frozen=True)
class Entry:
    """One call that was taken; ``subject`` is the execution or the container that it is about."""

    at: datetime
    kind: Kind
    subject: str
    status: int
    report: Report


class Journal:
    """The last calls, and which results have been seen. For one event loop."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._results: OrderedDict[str, bytes] = OrderedDict()

    @property
    def entries(self) -> Iterable[Entry]:
        """Oldest first."""
        return tuple(self._entries)

    def write(self, kind: Kind, subject: str, status: int, report: Report) -> Entry:
        """Keeps a call, its long texts shortened."""
        entry = Entry(datetime.now(UTC), kind, subject, status, _shorten(report))
        self._entries.append(entry)
        return entry

    def judge_result(self, report: ResultReport) -> int:
        """201 for the first result of an execution, 200 for the same again, 409 for a different one."""
        digest = _digest(report)
        known = self._results.setdefault(report.execution_id, digest)
        if len(self._results) > MAX_RESULTS_KNOWN:
            self._results.popitem(last=False)
        if known is digest:
            return 201
        return 200 if known == digest else 409


def _digest(report: BaseModel) -> bytes:
    return hashlib.sha256(report.model_dump_json().encode()).digest()


def _shorten(report: Report) -> Report:
    if not isinstance(report, ResultReport):
        return report
    shorter: dict[str, JsonValue] = {name: _tail(getattr(report, name)) for name in ("stdout", "stderr")}
    if len(report.model_dump_json(include={"return_value"})) > MAX_SHOWN_CHARS:
        shorter["return_value"] = f"… (more than {MAX_SHOWN_CHARS} characters, not kept)"
    return report.model_copy(update=shorter)


def _tail(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"…{text[-MAX_SHOWN_CHARS:]}"
