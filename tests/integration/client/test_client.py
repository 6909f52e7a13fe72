"""The client against a real API server: what a Control Plane does with it."""

import asyncio
import threading
from contextlib import aclosing

import pytest

from sandbox_executor_client import (
    AsyncClient,
    Change,
    Client,
    Conflict,
    Deleted,
    ExecutionSpec,
    Forbidden,
    InvalidExecution,
    NotFound,
    WaitTimeout,
    new_execution_id,
)
from tests.integration.client.conftest import TENANT, end
from tests.integration.controller.apiserver import ApiServer
from tests.integration.controller.cluster import eventually, first_within
from tests.integration.controller.stopwatch import Stopwatch

CODE = "def handler(event):\n    return event\n"


def spec(**fields: object) -> ExecutionSpec:
    return ExecutionSpec.model_validate({"language": "python", "code": CODE, **fields})


async def test_what_is_created_can_be_read(client: AsyncClient) -> None:
    created = await client.create(spec(event={"n": 1}, timeoutSeconds=7), labels={"team": "a"})
    read = await client.get(created.name)
    assert (read.uid, read.phase, read.finished) == (created.uid, "Pending", False)
    assert read.spec["event"] == {"n": 1}
    assert read.spec["timeoutSeconds"] == 7
    assert [found.name for found in await client.list(labels="team=a")] == [created.name]
    assert await client.list(labels="team=b") == []


async def test_an_event_that_is_null_stays_null(client: AsyncClient) -> None:
    created = await client.create(spec(event=None))
    assert created.spec["event"] is None
    assert "event" not in (await client.create(spec())).spec


async def test_creating_the_same_twice_makes_one(client: AsyncClient) -> None:
    execution_id = new_execution_id()
    wanted = spec(executionId=execution_id, event=[None, 1.5, {"a": None}])
    first, *others = await asyncio.gather(*(client.create(wanted) for _ in range(8)))
    assert {other.uid for other in others} == {first.uid}
    assert len(await client.list()) == 1


async def test_creating_something_else_under_the_same_id_is_a_conflict(client: AsyncClient) -> None:
    execution_id = new_execution_id()
    await client.create(spec(executionId=execution_id))
    with pytest.raises(Conflict, match="asks for something else"):
        await client.create(spec(executionId=execution_id, timeoutSeconds=31))
    with pytest.raises(Conflict, match="asks for something else"):
        await client.create(spec(executionId=execution_id, event={}))


async def test_one_that_was_cancelled_meanwhile_is_still_the_same(client: AsyncClient) -> None:
    created = await client.create(spec(executionId=new_execution_id()))
    assert (await client.cancel(created.name)).spec["cancel"] is True
    assert (await client.create(spec(executionId=created.execution_id))).uid == created.uid


async def test_what_the_api_server_refuses_says_what_to_write(client: AsyncClient) -> None:
    bad = ExecutionSpec.model_construct(language="python", code=CODE, timeout_seconds=4000)
    with pytest.raises(InvalidExecution, match="timeoutSeconds.*3600"):
        await client.create(bad)
    with pytest.raises(InvalidExecution, match="is not a name"):
        await client.get("../../secrets/x")


async def test_who_has_no_rights_is_told_so(client: AsyncClient, stranger: str) -> None:
    created = await client.create(spec())
    async with AsyncClient(TENANT, kubeconfig=stranger) as other:
        for forbidden in (other.create(spec()), other.get(created.name), other.wait(created.name), other.list()):
            with pytest.raises(Forbidden, match="nobody"):
                await forbidden


async def test_wait_returns_the_end(client: AsyncClient, api_server: ApiServer) -> None:
    """Within two seconds of its being written, in one of three tries."""

    async def end_one(_number: int) -> float:
        created = await client.create(spec())
        waiting = asyncio.ensure_future(client.wait(created.name, timeout_s=60))
        await is_read(api_server, created.name)
        await asyncio.sleep(0.3)
        assert not waiting.done()
        watch = Stopwatch(api_server.pids)
        await asyncio.to_thread(end, api_server, created.name, stdout="hello\n", returnValue={"a": None}, exitCode=0)
        ended = await waiting
        took = watch.read()
        said = (ended.phase, ended.reason, ended.message, ended.stdout)
        assert said == ("Succeeded", "Completed", "said", "hello\n")
        assert ended.succeeded
        assert ended.return_value == {"a": None}
        assert (await client.wait(created.name)).resource_version == ended.resource_version
        return took

    await first_within(2, end_one)


async def is_read(server: ApiServer, name: str) -> None:
    """Waits until somebody has read this Execution: a wait for its end begins with that, and follows it from there."""

    def look() -> bool:
        about = [event.get("objectRef") or {} for event in server.audited() if event["verb"] == "get"]
        return any(seen.get("name") == name for seen in about)

    await eventually(look, what=f"{name} to be read")


async def test_wait_gives_up_in_time_and_says_that_it_goes_on(client: AsyncClient, api_server: ApiServer) -> None:
    created = await client.create(spec())

    async def give_up(_number: int) -> float:
        watch = Stopwatch(api_server.pids)
        with pytest.raises(WaitTimeout, match="goes on"):
            await client.wait(created.name, timeout_s=0.5)
        return watch.read()

    await first_within(3, give_up)


async def test_wait_ends_when_it_is_deleted(client: AsyncClient, api_server: ApiServer) -> None:
    created = await client.create(spec())
    waiting = asyncio.ensure_future(client.wait(created.name, timeout_s=60))
    await is_read(api_server, created.name)
    await client.delete(created.name)
    with pytest.raises(Deleted, match=created.name):
        await waiting
    with pytest.raises(NotFound):
        await client.wait(created.name)
    await client.delete(created.name)


async def test_wait_is_not_taken_in_by_another_of_the_same_name(client: AsyncClient, api_server: ApiServer) -> None:
    created = await client.create(spec(), name="again")
    waiting = asyncio.ensure_future(client.wait("again", timeout_s=60))
    await is_read(api_server, "again")
    await client.delete(created.name)
    await client.create(spec(), name="again")
    await asyncio.to_thread(end, api_server, "again")
    with pytest.raises(Deleted):
        await waiting


async def test_a_watch_tells_what_is_there_what_changes_and_what_goes(
    client: AsyncClient, api_server: ApiServer
) -> None:
    there = await client.create(spec(), name="there")
    async with aclosing(client.watch()) as changes:

        async def following(name: str) -> Change:
            async for change in changes:
                if change.execution.name == name:
                    return change
            raise AssertionError("a watch has no end")

        assert (await following("there")).execution.uid == there.uid
        await client.create(spec(), name="new")
        assert (await following("new")).kind == "PRESENT"
        await asyncio.to_thread(end, api_server, "there", "Failed", exitCode=3)
        changed = await following("there")
        assert (changed.kind, changed.execution.phase, changed.execution.exit_code) == ("PRESENT", "Failed", 3)
        await client.delete("new")
        assert (await following("new")).kind == "GONE"


async def test_a_list_can_be_of_one_phase(client: AsyncClient, api_server: ApiServer) -> None:
    for name in ("a", "b"):
        await client.create(spec(), name=name)
    await asyncio.to_thread(end, api_server, "b")
    assert [found.name for found in await client.list(phase="Succeeded")] == ["b"]


def test_the_blocking_twin_does_the_same(api_server: ApiServer) -> None:
    with Client(TENANT, kubeconfig=str(api_server.kubeconfig)) as client:
        created = client.create(spec(), name="blocking")
        threading.Timer(0.3, end, [api_server, "blocking"], {"returnValue": 42}).start()
        with client.watch() as changes:
            assert next(changes).execution.uid == created.uid
        assert client.wait("blocking", timeout_s=60).return_value == 42
        assert [found.name for found in client.list()] == ["blocking"]
        assert client.cancel("blocking").finished
        client.delete("blocking")
        with pytest.raises(NotFound):
            client.get("blocking")
    with pytest.raises(RuntimeError, match="with block"):
        client.get("blocking")
