"""One trace from whoever creates an Execution to whoever is told of its end: nothing between is a stand-in but them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contracts.kube import API_VERSION
from contracts.tracing import TRACE_ANNOTATION, TRACE_HEADER, TraceContext, parse_traceparent
from controller import names
from controller.otlp import make_tracer
from tests.fakes.collector import Collector
from tests.fakes.control_plane import FakeControlPlane
from tests.integration.controller.apiserver import ApiServer
from tests.integration.controller.cluster import TENANT, Cluster, Controller, eventually
from tests.integration.controller.conftest import make_controller
from tests.integration.executor.running import RunningExecutor, open_directory, run_executor
from tests.unit.controller.builders import make_execution

CREATOR = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
TOKEN = "the-control-planes-token"
PRINTS = "import os\ndef handler(event):\n    print(os.environ['TRACEPARENT'])\n"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


@pytest.fixture
async def control_plane() -> AsyncIterator[FakeControlPlane]:
    async with FakeControlPlane(tokens={TOKEN}, prefix="/api/v1") as started:
        yield started


@pytest.fixture
async def traced(
    api_server: ApiServer,
    controller: Controller,
    collector: Collector,
    control_plane: FakeControlPlane,
    tmp_path: Path,
) -> AsyncIterator[Controller]:
    """A controller that sends traces and tells a Control Plane; the shared one pauses meanwhile."""
    await controller.stop()
    process = make_controller(api_server, tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    try:
        await process.start(
            CONTROL_PLANE_URL=control_plane.url,
            CONTROL_PLANE_TOKEN_FILE=str(tmp_path / "token"),
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )
        yield process
    finally:
        if process.process is not None:
            await process.stop(kill=True)
        await controller.start()


@pytest.fixture
async def executor(cluster: Cluster, traced: Controller) -> AsyncIterator[RunningExecutor]:
    with open_directory() as directory, run_executor(directory, **traced.executor_environment("pod-1")) as running:
        port = await asyncio.to_thread(lambda: running.port)
        await cluster.create_pool("default")
        await cluster.add_pod("pod-1", "default", port, concurrency=2)
        await cluster.wait_for_slots(free=2)
        yield running


@pytest.mark.sandbox
async def test_creator_controller_executor_code_and_control_plane_share_one_trace(
    cluster: Cluster,
    traced: Controller,
    executor: RunningExecutor,
    collector: Collector,
    control_plane: FakeControlPlane,
) -> None:
    body = {
        "apiVersion": API_VERSION,
        "kind": "Execution",
        "metadata": {"name": "traced", "annotations": {TRACE_ANNOTATION: CREATOR.traceparent}},
        "spec": {"language": "python", "code": PRINTS, "env": [{"name": "TRACEPARENT"}]},
    }
    await cluster.call("POST", names.executions_path(TENANT), body)
    ended = await cluster.wait_for_phase("traced", "Succeeded", "Failed", "Crashed")
    [told] = await control_plane.wait_for("result", 1)
    await eventually(lambda: len(collector.spans) == 5, what="five spans")

    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"execution", "queue", "dispatch", "run", "report"}
    assert {span.trace_id for span in spans.values()} == {CREATOR.trace_id}
    assert {span.service for span in spans.values()} == {names.COMPONENT_NAME}
    root = spans["execution"]
    assert root.parent_id == CREATOR.span_id
    assert {span.parent_id for span in spans.values() if span is not root} == {root.span_id}
    for span in spans.values():
        assert span.begun_ns <= span.ended_ns
        assert abs(span.ended_ns / 1e9 - time.time()) < 60
    assert root.attributes["sandbox_executor.execution.id"] == ended["status"]["executionId"]
    inside = parse_traceparent(ended["status"]["stdout"].strip())
    assert inside == TraceContext(CREATOR.trace_id, spans["run"].span_id)
    received = parse_traceparent(told.headers[TRACE_HEADER])
    assert received == TraceContext(CREATOR.trace_id, spans["report"].span_id)
    ran = executor.wait_for_log("result_reported")
    assert ran["traceparent"] == inside.traceparent
    assert set(collector.paths) == {"/v1/traces"}
    await cluster.check_writes_of_a_run("traced", afterwards=1)


async def test_spans_that_wait_are_sent_at_the_end_of_the_process(collector: Collector) -> None:
    tracer = make_tracer(collector.url + "/", "controller-1")
    tracer.reported(make_execution(), make_execution().created, make_execution().created, 201, "")
    await asyncio.to_thread(tracer.close)
    (span,) = collector.spans
    assert (span.name, span.attributes["http.response.status_code"]) == ("report", 201)


async def test_a_collector_that_is_not_there_costs_nothing_but_spans(tmp_path: Path) -> None:
    tracer = make_tracer("http://127.0.0.1:9")
    begun = time.monotonic()
    for _ in range(5000):
        tracer.reported(make_execution(), make_execution().created, make_execution().created, 0, "timed out")
    assert time.monotonic() - begun < 60
    await asyncio.to_thread(tracer.close)
