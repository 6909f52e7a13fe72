"""An Execution that is created in a span of the caller's stands in the caller's trace, whichever client creates it."""

import asyncio

from opentelemetry.sdk.trace import TracerProvider

from contracts.tracing import TRACE_ANNOTATION, TraceContext
from sandbox_executor_client import AsyncClient, Client, Execution
from tests.integration.client.conftest import TENANT, annotations
from tests.integration.client.test_client import spec
from tests.integration.controller.apiserver import ApiServer

TRACER = TracerProvider().get_tracer("test")


def create_blocking(kubeconfig: str) -> tuple[Execution, TraceContext]:
    with Client(TENANT, kubeconfig=kubeconfig) as client, TRACER.start_as_current_span("agent") as span:
        found = span.get_span_context()
        return client.create(spec()), TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}")


async def test_the_span_goes_along(client: AsyncClient, api_server: ApiServer) -> None:
    with TRACER.start_as_current_span("agent") as span:
        created = await client.create(spec(), annotations={"team": "a"})
    found = span.get_span_context()
    here = TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}")
    assert annotations(api_server, created.name) == {TRACE_ANNOTATION: here.traceparent, "team": "a"}


async def test_the_span_goes_along_through_the_blocking_client(client: AsyncClient, api_server: ApiServer) -> None:
    created, here = await asyncio.to_thread(create_blocking, str(api_server.kubeconfig))
    assert annotations(api_server, created.name) == {TRACE_ANNOTATION: here.traceparent}


async def test_what_the_caller_writes_comes_first_and_outside_of_a_span_there_is_nothing(
    client: AsyncClient, api_server: ApiServer
) -> None:
    with TRACER.start_as_current_span("agent"):
        own = await client.create(spec(), annotations={TRACE_ANNOTATION: "mine"})
    assert annotations(api_server, own.name) == {TRACE_ANNOTATION: "mine"}
    assert annotations(api_server, (await client.create(spec())).name) == {}
