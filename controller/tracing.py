"""The spans of an Execution: what of its way took how long, in one trace with whoever created it.

Only the controller records. Executors pass the context on and send nothing themselves: they run code that nobody
trusts, and their network leads to the controller alone. Every id is derived from the Execution's uid, so nothing about
a trace is stored, and the next leader goes on with the same one. ``docs/decisions/0022-tracing.md``.

What is recorded goes to ``emit`` as plain values; only ``otlp`` knows OpenTelemetry, and is imported when traces are
on.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from contracts.tracing import TraceContext, parse_traceparent
from controller.resources import Execution
from controller.status import FINISHED, condition_of

SpanKind = Literal["internal", "client"]
_ROOT: Final = "execution"


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """A span that has ended. ``failed`` says why, and is empty where it has not."""

    name: str
    context: TraceContext
    parent_id: str
    """16 hexadecimal digits; empty where there is no span above it."""
    begun: datetime
    ended: datetime
    attributes: Mapping[str, str | int]
    kind: SpanKind = "internal"
    failed: str = ""


class Tracer:
    """Records spans of sampled traces. ``emit`` must not wait; ``close`` it after the last one."""

    def __init__(self, emit: Callable[[SpanRecord], None], close: Callable[[], None] = lambda: None) -> None:
        self._emit = emit
        self.close = close

    def run_context(self, execution: Execution, attempt: int) -> TraceContext:
        """Of the span in which an attempt runs: what its executor, its code and its Control Plane are told."""
        return _context(execution, f"run/{attempt}")

    def report_context(self, execution: Execution) -> TraceContext:
        """Of the span in which the Control Plane is told of the end."""
        return _context(execution, "report")

    def queued(self, execution: Execution, attempt: int, begun: datetime, ended: datetime) -> None:
        """An attempt waited for a slot, and was claimed."""
        self._record(execution, "queue", f"queue/{attempt}", begun, ended, {"attempt": attempt})

    def dispatched(self, execution: Execution, attempt: int, begun: datetime, ended: datetime, failed: str) -> None:
        """An attempt was handed to its executor, or was not taken."""
        pod = execution.status.pod_name or ""
        attributes: dict[str, str | int] = {"attempt": attempt, "k8s.pod.name": pod}
        self._record(execution, "dispatch", f"dispatch/{attempt}", begun, ended, attributes, "client", failed)

    def ended(self, execution: Execution) -> None:
        """It has ended, and that is written."""
        status = execution.status
        end = status.completion_time
        if end is None:
            return
        finished = condition_of(status, FINISHED)
        reason = finished.reason if finished else ""
        failed = "" if status.phase == "Succeeded" else reason or str(status.phase)
        about: dict[str, str | int] = {"phase": str(status.phase), "reason": reason, "attempt": status.attempt or 0}
        if status.start_time is not None:
            ran = timedelta(milliseconds=status.metrics.duration_ms) if status.metrics else end - status.start_time
            begun = max(end - ran, status.start_time)
            self._record(execution, "run", f"run/{status.attempt}", begun, end, about, "internal", failed)
        parent = parse_traceparent(execution.traceparent)
        context = _context(execution, _ROOT)
        if context.sampled:
            attributes = {**_about(execution), **about}
            above = parent.span_id if parent else ""
            self._emit(SpanRecord(_ROOT, context, above, execution.created, end, attributes, "internal", failed))

    def reported(self, execution: Execution, begun: datetime, ended: datetime, status: int, failed: str) -> None:
        """The Control Plane was told, or could not be; ``status`` is that of HTTP, 0 without an answer."""
        answer = {"http.response.status_code": status} if status else {}
        self._record(execution, "report", "report", begun, ended, answer, "client", failed)

    def _record(
        self,
        execution: Execution,
        name: str,
        key: str,
        begun: datetime,
        ended: datetime,
        attributes: Mapping[str, str | int],
        kind: SpanKind = "internal",
        failed: str = "",
    ) -> None:
        context = _context(execution, key)
        if context.sampled:
            parent = _context(execution, _ROOT).span_id
            about = {**_about(execution), **attributes}
            self._emit(SpanRecord(name, context, parent, begun, ended, about, kind, failed))


def _about(execution: Execution) -> dict[str, str | int]:
    return {
        "k8s.namespace.name": execution.namespace,
        "sandbox_executor.execution.name": execution.name,
        "sandbox_executor.execution.id": execution.execution_id,
        "sandbox_executor.pool": execution.spec.pool,
        "code.language": execution.spec.language,
    }


def _context(execution: Execution, key: str) -> TraceContext:
    parent = parse_traceparent(execution.traceparent)
    span_id = hashlib.sha256(f"{execution.uid}/{key}".encode()).hexdigest()[:16]
    if parent is not None:
        return TraceContext(parent.trace_id, span_id, parent.sampled)
    return TraceContext(hashlib.sha256(f"{execution.uid}/trace".encode()).hexdigest()[:32], span_id)
