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
    first_within,
)
from tests.integration.controller.conftest import POD_IP, make_controller, start_replica
from tests.integration.controller.fault_proxy import Call, FaultProxy
from tests.integration.controller.service import Service
from tests.integration.controller.stopwatch import Stopwatch

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

    async def is_working(self) -> None:
        """Waits until executors have got something new."""
        before = self._count_received()
        await eventually(lambda: self._count_received() >= before + 10, what="work to be placed")

    def _count_received(self) -> int:
        return sum(len(executor.received) for executor in self._executors)

    async def _flow(self) -> None:
        while True:
            name = f"stream-{len(self.names):04d}"
            self.names.append(name)
            await self._cluster.create_execution(name, executionId=make_id(name))
            await asyncio.sleep(self._every_s)

    async def check(self, *allowed: str) -> dict[str, int]:
        """Waits until all have ended; how many in which phase. No id was ever begun twice, on any executor."""
        ended = [await self._cluster.wait_for_phase(name, *TERMINAL_PHASES) for name in self.names]
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


async def place_one(cluster: Cluster, name: str) -> None:
    """An Execution is created and claimed."""
    await cluster.create_execution(name)
    await cluster.wait_for_phase(name, "Running", "Succeeded")


class Successor:
    """Whoever leads next. Made before the leader goes; what is created from then on is new work."""

    def __init__(self, cluster: Cluster, executors: list[FakeExecutor], stream: Stream, pair: list[Controller]) -> None:
        self._cluster, self._executors, self._stream = cluster, executors, stream
        self._watch = Stopwatch([*pair[0].pids, *pair[1].pids])
        self._epoch = max(executor.highest_epoch for executor in executors)
        self._created = len(stream.names)
        self._begun = datetime.now(UTC)

    async def wait_for_claim(self) -> float:
        """After how many seconds it has placed the first new work: by its own stamp, less what others' load took."""
        placed: list[str] = await eventually(self._find_placed, what="new work to be placed")
        starved_s = self._watch.starved_s()
        found = [await self._cluster.read_execution(name) for name in placed]
        claimed = min(datetime.fromisoformat(item["status"]["startTime"]) for item in found)
        return (claimed - self._begun).total_seconds() - starved_s

    def _find_placed(self) -> list[str]:
        runs = {key: run for executor in self._executors for key, run in list(executor.runs.items())}
        new = self._stream.names[self._created :]
        return [name for name in new if (run := runs.get(make_id(name))) and (run.epoch or 0) > self._epoch]


def make_id(name: str) -> str:
    """The execution id of one of a stream."""
    return f"exec_20260101_{name.replace('-', '')[-8:]:0>8}"


async def stand_by(
    cluster: Cluster, executors: list[FakeExecutor], stream: Stream, pair: list[Controller]
) -> Successor:
    """The second replica is there, also where it was a leader that has gone, and work is placed: the leader may go."""
    if pair[1].process is None:
        await start_replica(pair[1], "standby")
    await stream.is_working()
    return Successor(cluster, executors, stream, pair)


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
    """In one of three tries: one in which the machine stands still says nothing of what the standby is able to."""
    stream = Stream(cluster, executors)

    async def kill(_number: int) -> float:
        leader, standby = pair
        successor = await stand_by(cluster, executors, stream, pair)
        leader.signal(signal.SIGKILL)
        await leader.wait_for_exit()
        took = await successor.wait_for_claim()
        print(f"\nnew work was placed {took:.1f} s after the leader was killed")
        assert standby.role == "leader"
        pair.reverse()
        return took

    async with stream.flowing():
        await first_within(TAKES_OVER_WITHIN_S, kill)
    await stream.check()


async def test_a_clean_stop_hands_over_within_two_seconds_and_loses_nothing(
    cluster: Cluster, pair: list[Controller], executors: list[FakeExecutor]
) -> None:
    """Three times, each in one of three tries: where the machine stands still, that says nothing of the hand-over."""
    stream = Stream(cluster, executors)

    async def stop(_number: int) -> float:
        leader, standby = pair
        successor = await stand_by(cluster, executors, stream, pair)
        leader.signal(signal.SIGTERM)
        took = await successor.wait_for_claim()
        print(f"\nnew work was placed {took:.2f} s after SIGTERM")
        assert standby.role == "leader"
        assert await leader.wait_for_exit() == 0
        pair.reverse()
        return took

    async with stream.flowing():
        for _ in range(3):
            await first_within(HANDS_OVER_WITHIN_S, stop)
    assert set(await stream.check()) == {"Succeeded"}


async def test_a_leader_that_is_stopped_past_its_lease_ends_when_it_goes_on_and_does_no_harm(
    cluster: Cluster, pair: list[Controller], executors: list[FakeExecutor], server_log: ServerLog
) -> None:
    """And the standby leads within fifteen seconds, in one of three tries."""
    stream = Stream(cluster, executors)

    async def freeze(_number: int) -> float:
        leader, standby = pair
        successor = await stand_by(cluster, executors, stream, pair)
        leader.signal(signal.SIGSTOP)
        await eventually(lambda: read_state(leader) == "T", what="the leader to stand still")
        stopped_at = datetime.now(UTC)
        took = await successor.wait_for_claim()
        assert standby.role == "leader"
        writes, lines = server_log.count_writes(), len(leader.log.splitlines())
        leader.signal(signal.SIGCONT)
        assert await leader.wait_for_exit() == LOST_THE_LEASE
        await eventually(lambda: server_log.count_writes() > writes, what="its successor to go on")
        said = leader.log.splitlines()[lines:]
        assert [line for line in said if "leads no longer" in line] == said[-1:]
        # What it had written before it was stopped may have been answered meanwhile: of that it says so now.
        for ended in (json.loads(line)["execution"] for line in said if "Execution ended" in line):
            completed = (await cluster.read_execution(ended))["status"]["completionTime"]
            assert datetime.fromisoformat(completed) < stopped_at
        pair.reverse()
        return took

    async with stream.flowing():
        await first_within(TAKES_OVER_WITHIN_S, freeze)
    await stream.check()


def read_state(controller: Controller) -> str:
    """The kernel's letter: T once it is stopped, which may be a moment after SIGSTOP; Z when it has ended."""
    assert controller.process is not None
    return Path(f"/proc/{controller.process.pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_short_outage_of_the_api_server_changes_no_leader_and_a_longer_one_ends_it(
    cluster: Cluster, controller: Controller, api_server: ApiServer, tmp_path: Path
) -> None:
    """Each in time in one of three tries: where the machine stands still, a short outage becomes a long one."""
    await controller.stop()
    async with FaultProxy(upstream=api_server.url) as proxy:
        process = make_controller(api_server, tmp_path)
        process.kubeconfig.write_text(process.kubeconfig.read_text().replace(api_server.url, proxy.url))

        async def outlive(_number: int) -> float:
            if process.process is None:
                await process.start()
            lease = await cluster.call("GET", LEASE_PATH)
            watch = Stopwatch(process.pids)
            proxy.cut = True
            await asyncio.sleep(TIMES.deadline - 2 * TIMES.renew_every)
            proxy.cut, seen = False, len(proxy.calls)
            await eventually(
                lambda: process.has_ended() or any(is_renewal(call) for call in proxy.calls[seen:]), what="a renewal"
            )
            took = watch.read()
            await asyncio.sleep(2 * TIMES.renew_every)
            if process.has_ended():
                assert await process.wait_for_exit() == LOST_THE_LEASE
                return max(took, TIMES.deadline)
            again = await cluster.call("GET", LEASE_PATH)
            assert process.role == "leader"
            assert again["spec"]["holderIdentity"] == lease["spec"]["holderIdentity"]
            assert again["spec"]["leaseTransitions"] == lease["spec"]["leaseTransitions"]
            return took

        async def lose(_number: int) -> float:
            if process.process is None:
                await process.start()
            watch = Stopwatch(process.pids)
            proxy.cut = True
            try:
                await eventually(lambda: read_state(process) == "Z", what="it to end")
                took = watch.read()
                assert await process.wait_for_exit() == LOST_THE_LEASE
                return took
            finally:
                proxy.cut = False
                await cluster.delete(LEASE_PATH)

        try:
            await first_within(TIMES.deadline, outlive)
            await first_within(TIMES.deadline + 1, lose)
        finally:
            if process.process is not None:
                await process.stop(kill=True)
            await cluster.delete(LEASE_PATH)
            await controller.start()


def is_renewal(call: Call) -> bool:
    """Whether a leader writes its Lease."""
    return call.method == "PUT" and call.is_about("leases")


async def test_a_container_that_restarts_in_the_same_pod_leads_again_at_once(
    cluster: Cluster, pair: list[Controller], executors: list[FakeExecutor]
) -> None:
    """It does not wait until its own Lease has run out. The other replica is stopped: a slow start were its chance."""
    leader, standby = pair
    standby.signal(signal.SIGSTOP)

    async def restart(_number: int) -> float:
        leader.signal(signal.SIGKILL)
        await leader.wait_for_exit()
        await start_replica(leader, "")
        watch = Stopwatch(leader.pids)
        await eventually(lambda: leader.role == "leader", what="it to lead")
        took = watch.read()
        print(f"\nled again {took:.1f} s after its start")
        return took

    await first_within(TIMES.lasts - TIMES.renew_every, restart)
    standby.signal(signal.SIGCONT)
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
        await eventually(lambda: sum(len(fake.runs) for fake in fakes) == 200, what="200 to run", timeout_s=180)
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
