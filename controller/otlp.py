"""Sends spans to an OpenTelemetry collector by OTLP over HTTP. The only module that imports OpenTelemetry.

A thread of the SDK sends them in batches; what finds no room in its queue is dropped, so a collector that is slow or
away costs spans and nothing else.
"""

from datetime import UTC, datetime
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from contracts.tracing import TraceContext
from controller import VERSION, names
from controller.tracing import SpanRecord, Tracer

_PATH: Final = "/v1/traces"
_TIMEOUT_S: Final = 5.0
_KINDS: Final = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}


def make_tracer(endpoint: str, pod_name: str = "") -> Tracer:
    """A tracer whose spans go to the collector at this URL (without ``/v1/traces``)."""
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + _PATH, timeout=_TIMEOUT_S)
    processor = BatchSpanProcessor(exporter)
    about = {"service.name": names.COMPONENT_NAME, "service.version": VERSION}
    resource = Resource.create({**about, **({"service.instance.id": pod_name} if pod_name else {})})
    scope = InstrumentationScope(names.COMPONENT_NAME, VERSION)

    def emit(record: SpanRecord) -> None:
        processor.on_end(
            ReadableSpan(
                name=record.name,
                context=_span_context(record.context),
                parent=_span_context(_above(record)) if record.parent_id else None,
                resource=resource,
                attributes=record.attributes,
                kind=_KINDS[record.kind],
                status=Status(StatusCode.ERROR, record.failed) if record.failed else Status(StatusCode.UNSET),
                start_time=_nanoseconds(record.begun),
                end_time=_nanoseconds(record.ended),
                instrumentation_scope=scope,
            )
        )

    return Tracer(emit, processor.shutdown)


def _above(record: SpanRecord) -> TraceContext:
    return TraceContext(record.context.trace_id, record.parent_id)


def _span_context(context: TraceContext) -> SpanContext:
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), False, TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(time: datetime) -> int:
    since = time - datetime.fromtimestamp(0, UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
