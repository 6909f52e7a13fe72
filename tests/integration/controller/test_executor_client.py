"""What the controller says to executors so that late and foreign requests can be told apart."""

from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from contracts.executor_api import ExecutionRequest
from controller.clients.executor import ExecutorClient
from controller.errors import ExecutorFenced, ExecutorUnreachable, NotLeader
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.apiserver import free_port

ID = "exec_20260115_a1b2c3d4"
REQUEST = ExecutionRequest(code="x", language="python", execution_id=ID)


@pytest.fixture
async def fake() -> AsyncIterator[FakeExecutor]:
    async with FakeExecutor(auto=False) as made:
        yield made


@pytest.fixture
async def make_client() -> AsyncIterator[Callable[[int], ExecutorClient]]:
    """Clients of leaders, by their epoch."""
    made: list[ExecutorClient] = []

    def make(epoch: int) -> ExecutorClient:
        made.append(ExecutorClient(lambda: "token", read_epoch=lambda: epoch))
        return made[-1]

    yield make
    for client in made:
        await client.close()


MakeClient = Callable[[int], ExecutorClient]


def url_of(fake: FakeExecutor) -> str:
    return f"http://127.0.0.1:{fake.port}"


async def test_an_older_leader_is_not_answered_once_a_newer_one_has_spoken(
    fake: FakeExecutor, make_client: MakeClient
) -> None:
    old, new = make_client(7), make_client(8)
    await old.execute(url_of(fake), REQUEST, 1)
    assert await new.bury(url_of(fake), ID, 1) is not None
    [state] = await old.list_active(url_of(fake))
    assert (state.execution_id, state.epoch) == (ID, 7)
    for call in (
        old.execute(url_of(fake), REQUEST, 1),
        old.cancel(url_of(fake), ID, 1),
        old.bury(url_of(fake), ID, 1),
    ):
        with pytest.raises(ExecutorUnreachable) as refused:
            await call
    assert "412" in str(refused.value)
    assert not fake.runs[ID].cancelled


async def test_a_tombstone_and_another_run_are_no_refusals_for_good(
    fake: FakeExecutor, make_client: MakeClient
) -> None:
    client = make_client(7)
    with pytest.raises(ExecutorFenced) as refused:
        await client.execute(url_of(fake), REQUEST, 1, "b" * 32)
    assert refused.value.other_run
    health = await client.read_health(url_of(fake))
    assert health is not None
    assert await client.bury(url_of(fake), ID, 1) is None
    with pytest.raises(ExecutorFenced) as refused:
        await client.execute(url_of(fake), REQUEST, 1, health.run_id)
    assert not refused.value.other_run
    assert fake.runs == {}


async def test_one_that_does_not_lead_sends_nothing_but_questions(fake: FakeExecutor) -> None:
    def refuse() -> int:
        raise NotLeader("this replica does not lead")

    client = ExecutorClient(lambda: "token", read_epoch=refuse)
    try:
        assert await client.ask(url_of(fake), ID) is None
        for call in (client.execute(url_of(fake), REQUEST, 1), client.cancel(url_of(fake), ID, 1)):
            with pytest.raises(NotLeader):
                await call
    finally:
        await client.close()
    assert fake.received == []


@pytest.mark.parametrize(
    ("status", "code", "taken"),
    [
        (503, "Executor.QueueFull", False),
        (503, "Executor.Terminating", False),
        (503, "", True),
        (500, "Executor.InternalError", True),
        (401, "Executor.Unauthorized", False),
        (412, "Executor.StaleEpoch", False),
    ],
)
async def test_it_is_known_whether_a_dispatch_may_have_been_taken(
    make_client: MakeClient, status: int, code: str, taken: bool
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"error_code": code, "description": "no", "request_id": "r"}, status=status)

    app = web.Application()
    app.router.add_post("/execute", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()  # ours too once nobody listens there
    await web.TCPSite(runner, "127.0.0.1", port).start()
    client = make_client(7)
    with pytest.raises(ExecutorUnreachable) as refused:
        await client.execute(f"http://127.0.0.1:{port}", REQUEST, 1)
    assert refused.value.taken is taken
    await runner.cleanup()
    with pytest.raises(ExecutorUnreachable) as refused:
        await make_client(7).execute(f"http://127.0.0.1:{port}", REQUEST, 1)
    assert not refused.value.taken
