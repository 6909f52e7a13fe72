"""An Execution as the API server has it, for a reader: nothing here needs the operator's own models to be as new.

Fields that a newer operator adds are ignored, those that an older one does not write are None.
"""

import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from contracts.execution import TERMINAL_PHASES, Phase

_ID_ALPHABET = string.ascii_lowercase + string.digits


def new_execution_id() -> str:
    """An id of its own, ``exec_YYYYMMDD_xxxxxxxx`` (UTC): 36^8 of them a day."""
    return f"exec_{datetime.now(UTC):%Y%m%d}_{''.join(secrets.choice(_ID_ALPHABET) for _ in range(8))}"


def name_of(execution_id: str) -> str:
    """The object's name for an id: the same every time, so that the API server itself refuses a second one."""
    return execution_id.replace("_", "-")


@dataclass(frozen=True)
class Artifact:
    """One file that the code made or changed; its bytes stay on the executor."""

    path: str
    size: int
    mime_type: str
    type: str


@dataclass(frozen=True)
class OutputInfo:
    """Something of an Execution that is in the operator's object store.

    ``name``: ``stdout``, ``stderr``, ``returnValue``, or ``artifacts/`` and the path of a file: user code chose that.
    ``truncated``: the code wrote more than was kept.
    """

    name: str
    size: int
    sha256: str
    media_type: str
    truncated: bool


@dataclass(frozen=True)
class ExecutionFailure:
    """Why it did not succeed, as ``status.error`` has it."""

    code: str
    description: str
    detail: str
    solution: str
    request_id: str


@dataclass(frozen=True)
class Execution:
    """One Execution at one moment; ``raw`` is the whole object."""

    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """``metadata.namespace``."""
        return str(self.raw["metadata"].get("namespace", ""))

    @property
    def uid(self) -> str:
        """``metadata.uid``."""
        return str(self.raw["metadata"].get("uid", ""))

    @property
    def resource_version(self) -> str:
        """``metadata.resourceVersion``."""
        return str(self.raw["metadata"].get("resourceVersion", ""))

    @property
    def execution_id(self) -> str:
        """The id at the executor and the Control Plane; empty before the controller has seen it."""
        return str(self._status.get("executionId") or self.spec.get("executionId") or "")

    @property
    def spec(self) -> Mapping[str, Any]:
        """As it was written, with the API server's defaults."""
        return dict(self.raw.get("spec") or {})

    @property
    def phase(self) -> Phase:
        """Pending before the controller has seen it."""
        return self._status.get("phase") or "Pending"

    @property
    def finished(self) -> bool:
        """Whether it has ended; what has ended never changes."""
        return self.phase in TERMINAL_PHASES

    @property
    def succeeded(self) -> bool:
        """Whether the code ran to its end and its exit code is 0."""
        return self.phase == "Succeeded"

    @property
    def reason(self) -> str:
        """Stable, one word: of the condition Finished, before that of Scheduled."""
        return str(self._condition().get("reason", ""))

    @property
    def message(self) -> str:
        """What happened, for a person."""
        return str(self._condition().get("message", ""))

    @property
    def exit_code(self) -> int | None:
        """Of the code; None when it has none."""
        return self._status.get("exitCode")

    @property
    def stdout(self) -> str:
        """The last 64 KiB."""
        return self._status.get("stdout") or ""

    @property
    def stderr(self) -> str:
        """The last 64 KiB."""
        return self._status.get("stderr") or ""

    @property
    def truncated(self) -> bool:
        """Whether stdout, stderr or the return value was larger than what the status keeps."""
        return any(self._status.get(f"{name}Truncated") for name in ("stdout", "stderr", "returnValue"))

    @property
    def return_value(self) -> Any:
        """What the handler returned."""
        return self._status.get("returnValue")

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; 0 before the first."""
        return int(self._status.get("attempt") or 0)

    @property
    def progress(self) -> Mapping[str, Any] | None:
        """What the code last said of its progress."""
        return self._status.get("progress")

    @property
    def metrics(self) -> Mapping[str, float]:
        """Usage of the code alone, by the names of ``status.metrics``."""
        return dict(self._status.get("metrics") or {})

    @property
    def artifacts(self) -> list[Artifact]:
        """The first 200."""
        return [
            Artifact(str(found["path"]), int(found["size"]), str(found.get("mimeType", "")), str(found.get("type", "")))
            for found in self._status.get("artifacts") or []
        ]

    @property
    def outputs(self) -> list[OutputInfo]:
        """What the object store has of it; none where the operator has no store."""
        return [
            OutputInfo(
                str(found["name"]),
                int(found["size"]),
                str(found["sha256"]),
                str(found.get("mediaType", "")),
                bool(found.get("truncated")),
            )
            for found in self._status.get("outputs") or []
        ]

    @property
    def failure(self) -> ExecutionFailure | None:
        """None when it succeeded, or has not ended."""
        error = self._status.get("error")
        if not error:
            return None
        names = ("errorCode", "description", "errorDetail", "solution", "requestId")
        return ExecutionFailure(*(str(error.get(name) or "") for name in names))

    @property
    def _status(self) -> Mapping[str, Any]:
        return self.raw.get("status") or {}

    def _condition(self) -> Mapping[str, Any]:
        found = {condition.get("type"): condition for condition in self._status.get("conditions") or []}
        return found.get("Finished") or found.get("Scheduled") or {}

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name} {self.phase}{f' ({self.reason})' if self.reason else ''}"


@dataclass(frozen=True)
class Change:
    """What a watch tells: an Execution appeared or changed (``PRESENT``), or is gone (``GONE``)."""

    kind: Literal["PRESENT", "GONE"]
    execution: Execution
