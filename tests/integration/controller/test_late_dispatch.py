"""A dispatch that is long under way: past a failover, past a restart of its executor. A real executor, and a proxy."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from contracts.executor_api import EPOCH_HEADER
from controller import names
from tests.integration.controller.apiserver import free_port
from tests.integration.controller.cluster import LEASE_PATH, Cluster, Controller, eventually
from tests.integration.controller.service import Service
from tests.integration.controller.test_way import find_condition
from tests.integration.executor.running import RunningExecutor, open_directory

pytestmark = pytest.mark.sandbox
_HOP_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


@dataclass
class SlowNetwork:
    """Stands between the controller and an executor. Dispatches are held until ``let_go``; the rest passes at once."""

    upstream_port: int
    port: int = 0
    drop_epoch: bool = False
    lose_answers: bool = False
    holds: bool = False
    held: int = 0
    answers: list[tuple[int, str]] = field(default_factory=list)
    """Status and error code of what the executor said to dispatches."""
    _let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> "SlowNetwork":
        self._session = ClientSession()
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        # Not cancelled when the controller goes away: what is on its way arrives all the same.
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._let_go.set()
        await self._runner.cleanup()
        await self._session.close()

    def let_go(self) -> None:
        """What is held arrives now."""
        self._let_go.set()

    async def _pass_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        dispatch = request.method == "POST" and request.path == "/execute"
        if dispatch and self.holds:
            self.held += 1
            await self._let_go.wait()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        if dispatch and self.drop_epoch:
            del headers[EPOCH_HEADER]
        url = f"http://127.0.0.1:{self.upstream_port}{request.raw_path}"
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            raw = await answer.read()
            if dispatch:
                self.answers.append((answer.status, json.loads(raw).get("error_code", "")))
                if self.lose_answers and answer.status == 202:
                    await self._let_go.wait()
                    assert request.transport is not None
                    request.transport.abort()
            return web.Response(status=answer.status, body=raw, content_type="application/json")


class Executors:
    """The runs of one executor, one after the other on one port."""

    def __init__(self, directory: Path, control_plane_url: str, controller: Controller) -> None:
        self.port = free_port()
        self._directory = directory
        self._environment = {
            "CONTROL_PLANE_URL": control_plane_url,
            "INTERNAL_API_TOKEN": controller.internal_token,
            "EXECUTE_API_TOKEN": controller.execute_token,
            "EXECUTOR_PORT": str(self.port),
            "POD_NAME": "pod-1",
        }
        self.runs: list[RunningExecutor] = []

    async def start(self) -> None:
        """The next run."""
        self.runs.append(RunningExecutor(self._directory, self._environment))
        await asyncio.to_thread(lambda: self.runs[-1].port)

    async def kill(self) -> None:
        """As the kernel does when memory runs out."""
        await asyncio.to_thread(self.runs[-1].close)

    async def wait_for_begun(self) -> list[str]:
        """The same, once there is one: their logs are read in a thread."""
        found: list[str] = await eventually(self.begun, what="the code to begin")
        return found

    def begun(self) -> list[str]:
        """The execution ids whose code has begun, in all runs."""
        return [
            str(record["execution_id"])
            for run in self.runs
            for record in run.log
            if record.get("event_type") == "execution_started"
        ]


@contextlib.asynccontextmanager
async def one_pod(cluster: Cluster, controller: Controller, url: str) -> AsyncIterator[tuple[Executors, SlowNetwork]]:
    """A pod whose executor is reached through the slow network."""
    with open_directory() as directory:
        executors = Executors(directory, url, controller)
        try:
            await executors.start()
            async with SlowNetwork(executors.port) as network:
                await cluster.create_pool("default")
                await cluster.add_pod("pod-1", "default", network.port, concurrency=2)
                yield executors, network
        finally:
            for run in executors.runs:
                run.close()


async def kill(cluster: Cluster, leader: Controller) -> None:
    """And its Lease goes, so that nobody waits until it has run out; the next one's epoch is higher all the same."""
    leader.signal(signal.SIGKILL)
    await leader.wait_for_exit()
    await cluster.delete(LEASE_PATH)


async def kill_with_a_dispatch_on_its_way(cluster: Cluster, leader: Controller, network: SlowNetwork) -> str:
    """Its execution id; it is claimed, and its executor has not received it."""
    network.holds = True
    await cluster.create_execution("late")
    claimed = await cluster.wait_for_phase("late", "Running")
    await eventually(lambda: network.held == 1, what="the dispatch to be on its way")
    await kill(cluster, leader)
    network.holds = False
    return str(claimed["status"]["executionId"])


@pytest.mark.parametrize(("drop_epoch", "answer"), [(True, (202, "")), (False, (412, "Executor.StaleEpoch"))])
async def test_what_a_dead_leader_claimed_runs_once_though_its_dispatch_arrives_later(
    cluster: Cluster, pair: list[Controller], service: Service, drop_epoch: bool, answer: tuple[int, str]
) -> None:
    leader, _ = pair
    async with one_pod(cluster, leader, service.url) as (executors, network):
        network.drop_epoch = drop_epoch
        execution_id = await kill_with_a_dispatch_on_its_way(cluster, leader, network)
        ended = await cluster.wait_for_phase("late", "Succeeded")
        assert ended["status"]["attempt"] == 1
        await eventually(lambda: network.answers, what="the executor's answer to come through")
        assert network.answers == [(202, "")]
        network.let_go()
        await eventually(lambda: len(network.answers) == 2, what="the late dispatch to arrive")
        assert network.answers[1] == answer
        assert await executors.wait_for_begun() == [execution_id]
        assert await cluster.read_execution("late") == ended


async def test_a_late_dispatch_that_arrives_first_is_joined_though_its_config_map_says_something_else_now(
    cluster: Cluster, pair: list[Controller], service: Service
) -> None:
    leader, _ = pair
    path = names.core_path("default", "configmaps", "changing")
    code = "def handler(event):\n    return '{}'\n"
    body = {"metadata": {"name": "changing"}, "data": {"main.py": code.format("before")}}
    await cluster.call("POST", path.rpartition("/")[0], body)
    try:
        async with one_pod(cluster, leader, service.url) as (executors, network):
            network.holds = True
            reference = {"configMapKeyRef": {"name": "changing", "key": "main.py"}}
            await cluster.create_execution("late", code=None, codeFrom=reference)
            await eventually(lambda: network.held == 1, what="the dispatch to be on its way")
            await kill(cluster, leader)
            await cluster.call("PUT", path, {**body, "data": {"main.py": code.format("after")}})
            await eventually(lambda: network.held == 2, what="the next leader's dispatch")
            network.let_go()
            ended = await cluster.wait_for_phase("late", "Succeeded")
            assert ended["status"]["returnValue"] in ("before", "after")
            assert await executors.wait_for_begun() == [ended["status"]["executionId"]]
            await eventually(lambda: len(network.answers) >= 2, what="both answers to come through")
            refusals = [answer for answer in network.answers if answer[0] != 202]
            assert refusals in ([(409, "Executor.Conflict")], [(412, "Executor.StaleEpoch")])
    finally:
        await cluster.delete(path)


@pytest.mark.parametrize(("drop_epoch", "refusal"), [(True, "Executor.Tombstone"), (False, "Executor.StaleEpoch")])
async def test_a_claim_that_names_no_run_has_crashed_and_its_late_dispatch_is_refused(
    cluster: Cluster, pair: list[Controller], service: Service, drop_epoch: bool, refusal: str
) -> None:
    """As a version of the controller left it that did not name the run yet."""
    leader, _ = pair
    async with one_pod(cluster, leader, service.url) as (executors, network):
        network.drop_epoch = drop_epoch
        await kill_with_a_dispatch_on_its_way(cluster, leader, network)
        status = names.execution_path("default", "late") + "/status"
        await cluster.call("PATCH", status, {"status": {"executorRun": None}}, kind="application/merge-patch+json")
        crashed = await cluster.wait_for_phase("late", "Crashed")
        assert find_condition(crashed, "Finished")["reason"] == "ExecutorLost"
        network.let_go()
        await eventually(lambda: network.answers, what="the late dispatch to arrive")
        [(_, code)] = network.answers
        assert code == refusal
        network.drop_epoch = False
        await cluster.create_execution("after")
        after = await cluster.wait_for_phase("after", "Succeeded")
        assert await executors.wait_for_begun() == [after["status"]["executionId"]]
        assert (await cluster.read_execution("late"))["status"]["phase"] == "Crashed"


async def test_what_a_dead_leader_claimed_does_not_run_where_the_executor_has_restarted_meanwhile(
    cluster: Cluster, pair: list[Controller], service: Service
) -> None:
    leader, _ = pair
    async with one_pod(cluster, leader, service.url) as (executors, network):
        await kill_with_a_dispatch_on_its_way(cluster, leader, network)
        await executors.kill()
        await executors.start()
        crashed = await cluster.wait_for_phase("late", "Crashed")
        assert find_condition(crashed, "Finished")["reason"] == "ExecutorLost"
        network.let_go()
        await eventually(lambda: network.answers, what="the late dispatch to arrive")
        assert [status for status, _ in network.answers] == [412]
        assert executors.begun() == []


async def test_what_a_dead_leader_claimed_and_somebody_cancels_ends_cancelled_and_never_begins(
    cluster: Cluster, pair: list[Controller], service: Service
) -> None:
    leader, _ = pair
    async with one_pod(cluster, leader, service.url) as (executors, network):
        await kill_with_a_dispatch_on_its_way(cluster, leader, network)
        path = names.execution_path("default", "late")
        await cluster.call("PATCH", path, {"spec": {"cancel": True}}, kind="application/merge-patch+json")
        await cluster.wait_for_phase("late", "Cancelled")
        network.let_go()
        await eventually(lambda: network.answers, what="the late dispatch to arrive")
        assert executors.begun() == []


async def test_a_dispatch_whose_answer_was_lost_with_its_executor_is_not_begun_again_by_the_next_run(
    cluster: Cluster, own_controller: Controller
) -> None:
    async with one_pod(cluster, own_controller, own_controller.url) as (executors, network):
        network.lose_answers = True
        sleeps = "import time\ndef handler(event):\n    time.sleep(600)\n"
        await cluster.create_execution("once", code=sleeps, timeoutSeconds=900)
        await eventually(executors.begun, what="the code to begin")
        await executors.kill()
        await executors.start()
        network.let_go()
        crashed = await cluster.wait_for_phase("once", "Crashed")
        await eventually(lambda: len(network.answers) >= 2, what="the answer of the next run to come through")
        assert [answer for answer in network.answers if answer[0] != 202] == [(412, "Executor.OtherRun")]
        assert executors.begun() == [crashed["status"]["executionId"]]


async def test_a_dispatch_that_only_the_next_run_receives_begins_once(
    cluster: Cluster, own_controller: Controller
) -> None:
    async with one_pod(cluster, own_controller, own_controller.url) as (executors, network):
        network.holds = True
        await cluster.create_execution("late")
        await eventually(lambda: network.held == 1, what="the dispatch to be on its way")
        await executors.kill()
        await executors.start()
        network.holds = False
        network.let_go()
        ended = await cluster.wait_for_phase("late", "Succeeded")
        await eventually(lambda: len(network.answers) >= 2, what="both answers to come through")
        assert network.answers == [(412, "Executor.OtherRun"), (202, "")]
        assert await executors.wait_for_begun() == [ended["status"]["executionId"]]
