"""Which spans the way of an Execution leaves, with which times and parents; and that off means off."""

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import ValidationError

from contracts.errors import ErrorBody
from contracts.tracing import TRACE_VARIABLE, TraceContext, parse_traceparent
from controller.application import make_configured_tracer
from controller.errors import ExecutorRefusal, SettingsError
from controller.resources import Execution
from controller.tracing import SpanRecord, Tracer
from tests.unit.controller.builders import NOW, make_execution, make_report, make_settings
from tests.unit.controller.world import World

PARENT = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


class Recorded:
    """A world whose spans are kept."""

    def __init__(self) -> None:
        self.spans: list[SpanRecord] = []
        self.tracer = Tracer(self.spans.append)
        self.world = World(self.tracer)

    def one(self, name: str) -> SpanRecord:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@pytest.fixture
async def recorded() -> AsyncIterator[Recorded]:
    made = Recorded()
    yield made
    await made.world.pipeline.close(0)


async def run(recorded: Recorded, parent: TraceContext | None = PARENT, **report: object) -> Execution:
    """One Execution from its creation to its end, two seconds later."""
    execution = await recorded.world.start_one(traceparent=parent.traceparent if parent else "")
    recorded.world.time += timedelta(seconds=2)
    report = {"execution_id": execution.execution_id, **report}
    await recorded.world.reports.take(execution.execution_id, 1, make_report(**report))
    return execution


async def test_the_whole_way_is_one_trace_under_the_creators_span(recorded: Recorded) -> None:
    execution = await run(recorded)
    assert [span.name for span in recorded.spans] == ["queue", "dispatch", "run", "execution"]
    assert {span.context.trace_id for span in recorded.spans} == {PARENT.trace_id}
    assert len({span.context.span_id for span in recorded.spans}) == 4
    root = recorded.one("execution")
    assert root.parent_id == PARENT.span_id
    assert {span.parent_id for span in recorded.spans if span is not root} == {root.context.span_id}
    assert root.attributes["sandbox_executor.execution.id"] == execution.execution_id
    assert root.attributes["phase"] == "Succeeded"
    assert root.failed == ""


async def test_spans_have_the_times_of_what_they_are_about(recorded: Recorded) -> None:
    execution = await run(recorded, metrics={"duration_ms": 500.0})
    ended = NOW + timedelta(seconds=2)
    times = {span.name: (span.begun, span.ended) for span in recorded.spans}
    assert times["execution"] == (execution.created, ended)
    assert times["queue"] == (execution.created, NOW)
    assert times["dispatch"] == (NOW, NOW)
    assert times["run"] == (ended - timedelta(seconds=0.5), ended)


async def test_without_a_creators_span_the_trace_is_its_own_and_the_same_for_every_leader(recorded: Recorded) -> None:
    execution = await run(recorded, parent=None)
    assert recorded.one("execution").parent_id == ""
    other_leader = Tracer(recorded.spans.append)
    assert other_leader.run_context(execution, 1) == recorded.one("run").context
    other = make_execution("two")
    assert other_leader.run_context(other, 1).trace_id != recorded.one("run").context.trace_id
    assert other_leader.run_context(execution, 2).span_id != recorded.one("run").context.span_id


async def test_one_that_fails_says_why(recorded: Recorded) -> None:
    await run(recorded, status="failed", reason="HandlerRaised", exit_code=1)
    assert (recorded.one("run").failed, recorded.one("execution").failed) == ("HandlerRaised", "HandlerRaised")


async def test_one_that_its_executor_refuses_has_a_dispatch_that_failed(recorded: Recorded) -> None:
    body = ErrorBody(error_code="Executor.ValidationError", description="no such thing", request_id="")
    recorded.world.executors.refusals.append(ExecutorRefusal(400, body))
    await recorded.world.send_one(traceparent=PARENT.traceparent)
    assert "no such thing" in recorded.one("dispatch").failed
    assert recorded.one("execution").attributes["phase"] == "Rejected"


async def test_a_trace_that_is_not_sampled_is_passed_on_and_not_recorded(recorded: Recorded) -> None:
    await run(recorded, parent=replace(PARENT, sampled=False))
    assert recorded.spans == []
    (sent,) = recorded.world.executors.traces
    context = parse_traceparent(sent)
    assert context is not None
    assert (context.trace_id, context.sampled) == (PARENT.trace_id, False)


@pytest.mark.parametrize("written", ["nonsense", "00-\r\nx", "x" * 100_000])
async def test_what_a_tenant_writes_wrongly_counts_as_nothing(recorded: Recorded, written: str) -> None:
    await recorded.world.start_one(traceparent=written)
    (sent,) = recorded.world.executors.traces
    assert parse_traceparent(sent) is not None
    assert sent == recorded.tracer.run_context(make_execution(), 1).traceparent


async def test_code_gets_the_context_of_its_run_only_where_it_asks_for_it(recorded: Recorded) -> None:
    asks = [{"name": TRACE_VARIABLE}, {"name": "OTHER", "value": ""}]
    execution = await recorded.world.start_one(env=asks)
    (request,) = recorded.world.executors.requests
    assert request.env_vars == {
        TRACE_VARIABLE: recorded.tracer.run_context(execution, 1).traceparent,
        "OTHER": "",
    }


@pytest.mark.parametrize("env", [None, [{"name": TRACE_VARIABLE, "value": "its own"}]])
async def test_what_code_has_of_its_own_stays(recorded: Recorded, env: list[dict[str, str]] | None) -> None:
    await recorded.world.start_one(env=env)
    (request,) = recorded.world.executors.requests
    assert request.env_vars == ({TRACE_VARIABLE: "its own"} if env else {})


async def test_off_passes_nothing_on() -> None:
    world = World()
    await world.start_one(traceparent=PARENT.traceparent, env=[{"name": TRACE_VARIABLE}])
    (request,) = world.executors.requests
    assert request.env_vars == {TRACE_VARIABLE: ""}
    assert world.executors.traces == [""]
    await world.pipeline.close(0)


def test_a_package_that_is_missing_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "controller.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"opentelemetry\.sdk.*sandbox-executor\[otel\]"):
        make_configured_tracer(make_settings(otel_exporter_otlp_endpoint="http://collector:4318"))
    assert make_configured_tracer(make_settings()) is None


@pytest.mark.parametrize("wrong", ["collector:4318", "grpc://collector:4317", "http://u:p@collector", "http://c/?a=b"])
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="must be http:// or https://"):
        make_settings(otel_exporter_otlp_endpoint=wrong)


def test_off_imports_nothing() -> None:
    program = (
        "import sys, controller.__main__, executor_runtime.__main__, sandbox_executor_client\n"
        "print(*(name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter',"
        " 'google.protobuf', 'controller.otlp'))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.strip() == ""
