"""What of an execution that has ended belongs into the object store: its artifacts, and what no status has room for.

Nothing of the run is left when this is called, and a session's next one has not begun: what is read twice, once for
its digest and once to be sent, is the same both times. Everything here blocks.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from contracts import bounds
from contracts.executor_api import ExecutionResult
from contracts.output_events import STREAMS, StreamName
from contracts.outputs import (
    ARTIFACTS_PREFIX,
    MAX_NAME_LENGTH,
    RETURN_VALUE,
    MissingReason,
    OutputLimits,
    OutputMetadata,
    OutputsMissing,
)
from executor_runtime.artifacts import ArtifactNotFound, open_artifact
from executor_runtime.sandbox import Output
from executor_runtime.workspace import Workspace

_READ_BYTES: Final = 262_144
_NAMED: Final = 5
_TEXT: Final = "text/plain"
_JSON: Final = "application/json"
_MAYBE_LARGE: Final = bounds.STATUS_RETURN_VALUE_BYTES // 8
"""A return value that came in fewer bytes has fewer than the status keeps, however its numbers are written."""

Pieces = Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Source:
    """Something to store: what it is, and where its bytes come from (as often as they are asked for)."""

    metadata: OutputMetadata
    pieces: Pieces


class Missing:
    """What cannot be stored, gathered for one sentence."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._reason: MissingReason | None = None
        self._why = ""

    def add(self, name: str, reason: MissingReason, why: str) -> None:
        """One more; the first reason is the one that is told."""
        self._names.append(name)
        if self._reason is None:
            self._reason, self._why = reason, why

    def tell(self) -> OutputsMissing | None:
        """The sentence; None when nothing is missing."""
        if self._reason is None:
            return None
        named = ", ".join(ascii(name[:100]) for name in self._names[:_NAMED])
        more = f" and {len(self._names) - _NAMED} more" if len(self._names) > _NAMED else ""
        text = f"not in the object store: {named}{more}: {self._why}"
        return OutputsMissing(reason=self._reason, message=text[:2048])


def has_any(result: ExecutionResult, output: Output) -> bool:
    """Whether there is anything to store; at once, for most have nothing."""
    if result.artifacts or _is_large(result.stdout) or _is_large(result.stderr):
        return True
    return max(output.shown_bytes) > bounds.STATUS_STREAM_BYTES or _has_large_value(result)


def gather(
    result: ExecutionResult, output: Output, workspace: Workspace | None, limits: OutputLimits, missing: Missing
) -> list[Source]:
    """What is to be stored, as far as the limits let it: streams first, artifacts by path."""
    found: list[Source] = []
    room = limits.total_bytes
    for name, media_type, truncated, size, pieces in _candidates(result, output, workspace, limits, missing):
        if len(name) > MAX_NAME_LENGTH:
            missing.add(name, "OutputTooLarge", f"a name has at most {MAX_NAME_LENGTH} characters")
        elif len(found) >= bounds.MAX_OUTPUTS:
            missing.add(name, "TooManyOutputs", f"an Execution has at most {bounds.MAX_OUTPUTS} outputs")
        elif size > limits.object_bytes:
            missing.add(name, "OutputTooLarge", f"it has more than {limits.object_bytes} bytes")
        elif size > room:
            missing.add(name, "OutputTooLarge", f"all outputs have more than {limits.total_bytes} bytes together")
        else:
            source = _digested(name, media_type, truncated, pieces)
            if source is None:
                missing.add(name, "UploadStopped", "it cannot be read")
                continue
            room -= size
            found.append(source)
    return found


_Candidate = tuple[str, str, bool, int, Pieces]


def _candidates(
    result: ExecutionResult, output: Output, workspace: Workspace | None, limits: OutputLimits, missing: Missing
) -> Iterator[_Candidate]:
    read = output.shown_bytes
    for stream, text in zip(STREAMS, (result.stdout, result.stderr), strict=True):
        size = read.of(stream)
        if _is_large(text) or size > bounds.STATUS_STREAM_BYTES:
            kept = min(output.kept_bytes(stream), limits.object_bytes)
            yield stream, _TEXT, size > kept, kept, _cut(output, stream, kept)
    if _has_large_value(result):
        value = json.dumps(result.return_value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        if len(value) > bounds.STATUS_RETURN_VALUE_BYTES:
            yield RETURN_VALUE, _JSON, False, len(value), lambda: iter((value,))
    if workspace is not None:
        for artifact in result.artifact_metadata:
            pieces = _file(workspace, artifact.path)
            yield f"{ARTIFACTS_PREFIX}{artifact.path}", artifact.mime_type, False, artifact.size, pieces


def _is_large(text: str) -> bool:
    limit = bounds.STATUS_STREAM_BYTES
    return len(text) > limit // 4 and len(text.encode("utf-8", "replace")) > limit


def _has_large_value(result: ExecutionResult) -> bool:
    value = result.return_value
    if isinstance(value, str):
        return len(value) > _MAYBE_LARGE
    return isinstance(value, list | dict) and _weighs(value)


def _weighs(value: object) -> bool:
    """Whether it may be large: counted until it is, or until nothing is left."""
    todo, weight = [value], 0
    while todo and weight <= _MAYBE_LARGE:
        part = todo.pop()
        if isinstance(part, dict):
            todo += part.keys()
            todo += part.values()
        elif isinstance(part, list):
            todo += part
        weight += len(part) if isinstance(part, str) else 8
    return weight > _MAYBE_LARGE


def _cut(output: Output, stream: StreamName, size: int) -> Pieces:
    def pieces() -> Iterator[bytes]:
        left = size
        for piece in output.read_whole(stream):
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    return pieces


def _file(workspace: Workspace, path: str) -> Pieces:
    def pieces() -> Iterator[bytes]:
        opened = open_artifact(workspace, path)
        try:
            while piece := os.read(opened.descriptor, _READ_BYTES):
                yield piece
        finally:
            os.close(opened.descriptor)

    return pieces


def _digested(name: str, media_type: str, truncated: bool, pieces: Pieces) -> Source | None:
    digest, size = hashlib.sha256(), 0
    try:
        for piece in pieces():
            digest.update(piece)
            size += len(piece)
    except (ArtifactNotFound, OSError):
        return None
    metadata = OutputMetadata(
        name=name, size=size, sha256=digest.hexdigest(), media_type=media_type[:255], truncated=truncated
    )
    return Source(metadata, pieces)
