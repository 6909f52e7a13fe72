"""Two replicas on a real API server: whoever dies, stops or is cut off, nothing is lost and nothing runs twice."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.execution import TERMINAL_PHASES
from controller import names
from controller.__main__ import LOST_THE_LEASE
from controller.leadership import LeaseTimes
from tests.fakes.executor import FakeExecutor
from tests.integration.controller.apiserver import ApiServer, free_port
from tests.integration.controller.cluster import (
    LEASE_PATH,
    NAMESPACE,
    SERVICE,
    TENANT,
    Cluster,
    Controller,
    eventually,
)
from tests.integration.controller.conftest import POD_IP, make_controller, start_replica
from tests.integration.controller.fault_proxy import FaultProxy
from tests.integration.controller.service import Service

TIMES = LeaseTimes()
TAKES_OVER_WITHIN_S = 15.0
HANDS_OVER_WITHIN_S = 2.0


class Stream:
    """Executions that are created steadily; ``check`` holds each to its promises."""

    def __init__(self, cluster: Cluster, executors: list[FakeExecutor], every_s: float = 0.1) -> None:
        self._cluster = cluster
        self._executors = executors
        self._every_s = every_s
        self.names: list[str] = []

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._flow())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _flow(self) -> None:
        while True:
            name = f"stream-{len(self.names):04d}"
            self.names.append(name)
            await self._cluster.create_execution(name)
            await asyncio.sleep(self._every_s)

    async def check(self, *allowed: str) -> dict[str, int]:
        """Waits until all have ended; how many in which phase. No id was ever begun twice, on any executor."""
        ended = [await self._cluster.wait_for_phase(name, *TERMINAL_PHASES, timeout_s=60) for name in self.names]
        counts: dict[str, int] = {}
        for item in ended:
            phase = item["status"]["phase"]
            counts[phase] = counts.get(phase, 0) + 1
            assert item["status"]["attempt"] == 1
        assert set(counts) <= {"Succeeded", *allowed}, counts
        begun = [execution_id for executor in self._executors for execution_id in executor.runs]
        assert len(begun) == len(set(begun))
        wanted = {item["status"]["executionId"] for item in ended if item["status"]["phase"] == "Succeeded"}
        assert wanted <= set(begun)
        return counts


@pytest.fixture
async def executors(cluster: Cluster, service: Service) -> AsyncIterator[list[FakeExecutor]]:
    """Two recording executors with four slots each, which report to the Service."""
    await cluster.create_pool("default")
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for number in (1, 2):
            fake = await stack.enter_async_context(FakeExecutor(control_plane_url=service.url, delay_s=0.3))
            await cluster.add_pod(f"pod-{number}", "default", fake.port)
            made.append(fake)
        yield made


class ServerLog:
    """The API server's own record of the status writes."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def count_writes(self) -> int:
        """On Executions, so far."""
        return self._server.audit_log.read_text().count('"subresource":"status"')


@pytest.fixture
def server_log(api_server: ApiServer) -> ServerLog:
    return ServerLog(api_server)


async def place_one(cluster: Cluster, name: str) -> float:
    """Seconds from the creation of an Execution to its claim."""
    begun = time.monotonic()
    await cluster.create_execution(name)
    await cluster.wait_for_phase(name, "Running", "Succeeded", timeout_s=30)
    return time.monotonic() - begun


async def test_only_the_leader_works_and_both_are_ready(
    cluster: Cluster, pair: list[Controller], executors: list[FakeExecutor], service: Service
) -> None:
    leader, standby = pair
    assert (leader.role, standby.role) == ("leader", "standby")
    await cluster.create_execution("one")
    await cluster.wait_for_phase("one", "Succeeded")
    assert service.target == leader.internal_port
    lease = await cluster.call("GET", LEASE_PATH)
    assert lease["spec"]["holderIdentity"].startswith("controller-a_")
    found = await cluster.call("GET", names.endpoint_slice_path(NAMESPACE, SERVICE))
    assert found["endpoints"][0]["addresses"] == [POD_IP]
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == SERVICE
    [run] = [run for executor in executors for run in executor.runs.values()]
    assert run.epoch is not None
    assert run.epoch % 1_000_000 == lease["spec"]["leaseTransitions"]


async def test_after_the_leader_is_killed_the_standby_places_new_work_within_fifteen_seconds(
    cluster: Cluster, pair: list[Controller], executors: list[FakeExecutor]
) -> None:
    leader, standby = pair
    stream = Stream(cluster, executors)
    async with stream.flowing():
        await asyncio.sleep(2)
        leader.signal(signal.SIGKILL)
        await leader.wait_for_exit()
        took = await place_one(cluster, "after-the-kill")
        await asyncio.sleep(1)
    print(f"\nnew work was placed {took:.1f} s after the leader was killed")
    assert took < TAKES_OVER_WITHIN_S
    assert standby.role == "leader"
    await stream.check()


async def test_a_clean_stop_hands_over_within_two_seconds_and_loses_nothing(
    cluster: Cluster, pair: list[Controller], executors: list[FakeExecutor]
) -> None:
    leader, standby = pair
    stream = Stream(cluster, executors)
    async with stream.flowing():
        for _ in range(3):
            await asyncio.sleep(1.5)
            leader.signal(signal.SIGTERM)
            begun = time.monotonic()
            await eventually(lambda: standby.role == "leader", what="the hand-over")  # noqa: B023
            await place_one(cluster, f"after-{leader.folder.name}-{len(stream.names)}")
            took = time.monotonic() - begun
            print(f"\nnew work was placed {took:.2f} s after SIGTERM")
            assert took < HANDS_OVER_WITHIN_S
            assert await leader.wait_for_exit() == 0
            await start_replica(leader, "standby")
            leader, standby = standby, leader
    assert set(await stream.check()) == {"Succeeded"}


async def test_a_leader_that_is_stopped_past_its_lease_ends_when_it_goes_on_and_does_no_harm(
    cluster: Cluster, pair: list[Controller], executors: list[FakeExecutor], server_log: ServerLog
) -> None:
    leader, standby = pair
    stream = Stream(cluster, executors)
    async with stream.flowing():
        await asyncio.sleep(2)
        stopped_at = datetime.now(UTC).isoformat()
        leader.signal(signal.SIGSTOP)
        await eventually(lambda: standby.role == "leader", what="the standby to lead", timeout_s=TAKES_OVER_WITHIN_S)
        await asyncio.sleep(3)
        writes, lines = server_log.count_writes(), len(leader.log.splitlines())
        leader.signal(signal.SIGCONT)
        assert await leader.wait_for_exit() == LOST_THE_LEASE
        await asyncio.sleep(2)
    assert server_log.count_writes() > writes
    said = leader.log.splitlines()[lines:]
    assert [line for line in said if "leads no longer" in line] == said[-1:]
    await stream.check()
    # What it had written before it was stopped may have been answered meanwhile: of that it says so now.
    for ended in (json.loads(line)["execution"] for line in said if "Execution ended" in line):
        assert (await cluster.read_execution(ended))["status"]["completionTime"] < stopped_at


async def test_a_short_outage_of_the_api_server_changes_no_leader_and_a_longer_one_ends_it(
    cluster: Cluster, controller: Controller, api_server: ApiServer, tmp_path: Path
) -> None:
    await controller.stop()
    async with FaultProxy(upstream=api_server.url) as proxy:
        process = make_controller(api_server, tmp_path)
        process.kubeconfig.write_text(process.kubeconfig.read_text().replace(api_server.url, proxy.url))
        try:
            await process.start()
            lease = await cluster.call("GET", LEASE_PATH)
            proxy.cut = True
            await asyncio.sleep(TIMES.deadline - 2 * TIMES.renew_every)
            proxy.cut = False
            await asyncio.sleep(2 * TIMES.renew_every)
            assert process.role == "leader"
            again = await cluster.call("GET", LEASE_PATH)
            assert again["spec"]["holderIdentity"] == lease["spec"]["holderIdentity"]
            assert again["spec"]["leaseTransitions"] == lease["spec"]["leaseTransitions"]
            begun = time.monotonic()
            proxy.cut = True
            assert await process.wait_for_exit() == LOST_THE_LEASE
            assert time.monotonic() - begun < TIMES.deadline + 1
        finally:
            if process.process is not None:
                await process.stop(kill=True)
            await cluster.delete(LEASE_PATH)
            await controller.start()


async def test_a_container_that_restarts_in_the_same_pod_leads_again_at_once(
    cluster: Cluster, pair: list[Controller], executors: list[FakeExecutor]
) -> None:
    leader, _ = pair
    leader.signal(signal.SIGKILL)
    await leader.wait_for_exit()
    begun = time.monotonic()
    await start_replica(leader, "leader")
    took = time.monotonic() - begun
    print(f"\nled again {took:.1f} s after its start")
    assert took < TIMES.lasts - TIMES.renew_every
    await place_one(cluster, "after-the-restart")


async def test_two_hundred_that_run_are_all_adopted_after_a_restart(
    cluster: Cluster, own_controller: Controller
) -> None:
    await cluster.create_pool("default", concurrency=50)
    async with contextlib.AsyncExitStack() as stack:
        fakes = []
        for number in range(4):
            fake = FakeExecutor(control_plane_url=own_controller.url, auto=False)
            fakes.append(await stack.enter_async_context(fake))
            await cluster.add_pod(f"pod-{number}", "default", fake.port, concurrency=50)
        ids = [f"many-{number:03d}" for number in range(200)]
        await asyncio.gather(*(cluster.create_execution(name, timeoutSeconds=600) for name in ids))
        await eventually(lambda: sum(len(fake.runs) for fake in fakes) == 200, what="200 to run", timeout_s=60)
        await own_controller.stop(kill=True)
        received = [len(fake.received) for fake in fakes]
        begun = time.monotonic()
        await own_controller.start()
        print(f"\nled with 200 running Executions {time.monotonic() - begun:.1f} s after its start")
        await cluster.create_execution("one-more")
        await cluster.wait_for_phase("one-more", "Pending")
        assert [len(fake.received) for fake in fakes] == received
        answers = await asyncio.gather(*(fake.end(run) for fake in fakes for run in list(fake.runs)))
        assert answers == [201] * 200
        found = (await cluster.call("GET", names.executions_path(TENANT)))["items"]
        ended = {item["metadata"]["name"] for item in found if item["status"]["phase"] == "Succeeded"}
        assert ended == set(ids)
        assert all(len(fake.tombstones) == 0 for fake in fakes)


async def test_what_nobody_sent_with_an_epoch_is_not_taken_for_an_orphan(
    cluster: Cluster, own_controller: Controller
) -> None:
    async with FakeExecutor(control_plane_url=own_controller.url, auto=False, port=free_port()) as fake:
        fake.add_foreign("exec_20260101_foreign0")
        fake.add_foreign("exec_20260101_orphaned", epoch=1)
        await cluster.create_pool("default")
        await cluster.add_pod("pod-1", "default", fake.port)
        await own_controller.stop()
        await own_controller.start()
        await eventually(lambda: fake.runs["exec_20260101_orphaned"].cancelled, what="the orphan to be cancelled")
        assert not fake.runs["exec_20260101_foreign0"].cancelled
