"""The caller's span, for whoever uses OpenTelemetry; it is looked at only where somebody has imported that."""

import sys

from contracts.tracing import TRACE_ANNOTATION, TraceContext


def current_trace() -> dict[str, str]:
    """The annotation that puts an Execution into the caller's trace; empty where there is none."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return {}
    context = TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags.sampled)
    return {TRACE_ANNOTATION: context.traceparent}
