"""The caller's span goes along where there is one."""

import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from contracts.tracing import TRACE_ANNOTATION, parse_traceparent
from sandbox_executor_client.tracing import current_trace


def test_the_span_that_the_caller_stands_in_is_the_annotation() -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("outer") as span:
        context = parse_traceparent(current_trace()[TRACE_ANNOTATION])
    assert context is not None
    found = span.get_span_context()
    assert (int(context.trace_id, 16), int(context.span_id, 16)) == (found.trace_id, found.span_id)
    assert context.sampled


def test_a_span_that_is_not_recorded_says_so() -> None:
    with trace.use_span(TracerProvider(sampler=ALWAYS_OFF).get_tracer("test").start_span("outer")):
        assert current_trace()[TRACE_ANNOTATION].endswith("-00")


def test_there_is_none_outside_of_a_span_or_without_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert current_trace() == {}
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert current_trace() == {}
