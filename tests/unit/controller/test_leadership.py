"""Leader election against an API server in memory, in a loop whose time is virtual."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, NoReturn

import pytest

from controller.errors import KubeConflict, KubeNotFound, KubeUnavailable, NotLeader
from controller.leadership import Candidate, Leadership, LeaseTimes, epoch_of
from tests.unit.controller.virtual_time import run_virtually

TIMES = LeaseTimes()


class Abandoned(BaseException):
    """Stands for the end of the process."""


class FakeServer:
    """One Lease under optimistic concurrency; ``down`` refuses, ``hangs`` never answers."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = self.hangs = False
        self.lose_answers = 0

    async def get(self, path: str) -> dict[str, Any]:
        await self._reach()
        if self.lease is None:
            raise KubeNotFound(404, "NotFound", path)
        return deepcopy(self.lease)

    async def apply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        await self._reach()
        if self.lease is None:
            self._create(body)
        return deepcopy(self.lease or {})

    def _create(self, body: dict[str, Any]) -> None:
        created = datetime.fromtimestamp(asyncio.get_running_loop().time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._store({**body, "metadata": {**body["metadata"], "creationTimestamp": created}})

    async def replace(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        await self._reach()
        if self.lease is None:
            raise KubeNotFound(404, "NotFound", path)
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise KubeConflict(409, "Conflict", path)
        self._store(body)
        if self.lose_answers:
            self.lose_answers -= 1
            raise KubeUnavailable(0, "ServerDisconnected", path)
        return deepcopy(self.lease)

    def _store(self, body: dict[str, Any]) -> None:
        self.version += 1
        self.lease = {**deepcopy(body), "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}

    async def _reach(self) -> None:
        await asyncio.sleep(0.01)
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            raise KubeUnavailable(0, "ClientConnectorError", "no answer")

    @property
    def spec(self) -> dict[str, Any]:
        """Of the Lease."""
        assert self.lease is not None
        spec: dict[str, Any] = self.lease["spec"]
        return spec


class Replica:
    """One candidate's process: acquires, keeps, and notes when and why it ended."""

    def __init__(self, server: FakeServer, pod: str = "") -> None:
        self.loop = asyncio.get_running_loop()
        self.skew = 0.0
        self.ended: tuple[float, str] | None = None
        candidate = Candidate("system", "controller", pod)
        self.leadership = Leadership(server, candidate, self._abandon, monotonic=lambda: self.loop.time() + self.skew)
        self.task = asyncio.ensure_future(self._live())

    @property
    def leads(self) -> bool:
        """Whether it lives and may act."""
        return self.ended is None and self.leadership.leads

    async def stop(self) -> None:
        """Ends it as SIGKILL would: nothing more is said."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Abandoned):
            await self.task
        self.ended = self.ended or (self.loop.time(), "killed")

    async def wait_to_lead(self) -> float:
        """When it led."""
        while not self.leads:
            assert self.ended is None, self.ended
            await asyncio.sleep(0.05)
        return self.loop.time()

    async def wait_to_end(self) -> tuple[float, str]:
        """When and why it ended."""
        await asyncio.wait([self.task])
        assert self.ended is not None
        return self.ended

    async def _live(self) -> None:
        with contextlib.suppress(Abandoned):
            await self.leadership.acquire()
            await self.leadership.keep()

    def _abandon(self, reason: str) -> NoReturn:
        self.ended = self.ended or (self.loop.time(), reason)
        raise Abandoned(reason)


@contextlib.asynccontextmanager
async def replicas(server: FakeServer, *pods: str) -> AsyncIterator[list[Replica]]:
    made = []
    try:
        for pod in pods:
            made.append(Replica(server, pod))
            await asyncio.sleep(0.2)
        yield made
    finally:
        for replica in made:
            await replica.stop()


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_first_leads_and_renews_and_the_second_waits() -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a", "b") as (first, second):
            await first.wait_to_lead()
            epoch = first.leadership.check()
            await asyncio.sleep(300)
            assert (first.leads, second.leads) == (True, False)
            assert first.leadership.check() == epoch
            assert server.spec["leaseTransitions"] == 1
            with pytest.raises(NotLeader):
                second.leadership.check()

    run_virtually(scene())


def test_after_a_kill_the_other_leads_once_the_lease_has_run_out_and_not_before() -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a", "b") as (first, second):
            await first.wait_to_lead()
            await asyncio.sleep(20)
            epoch, killed = first.leadership.check(), now()
            await first.stop()
            took = await second.wait_to_lead() - killed
            assert TIMES.lasts - TIMES.renew_every <= took <= TIMES.lasts + 2 * TIMES.look_every
            assert second.leadership.check() == epoch + 1

    run_virtually(scene())


def test_after_a_release_the_other_leads_at_its_next_look() -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a", "b") as (first, second):
            await first.wait_to_lead()
            first.task.cancel()
            begun = now()
            await first.leadership.release()
            assert not first.leads
            assert await second.wait_to_lead() - begun <= TIMES.look_every + 0.2
            with pytest.raises(NotLeader):
                first.leadership.check()

    run_virtually(scene())


def test_a_release_after_a_renewal_that_was_cut_off_is_a_release_all_the_same() -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a") as (first,):
            await first.wait_to_lead()
            first.task.cancel()
            server.version += 1
            assert server.lease is not None
            server.lease["metadata"]["resourceVersion"] = str(server.version)
            await first.leadership.release()
            assert server.spec["holderIdentity"] == ""

    run_virtually(scene())


@pytest.mark.parametrize("how", ["down", "hangs"])
def test_an_outage_that_is_shorter_than_the_deadline_changes_nothing(how: str) -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a", "b") as (first, _):
            await first.wait_to_lead()
            epoch = first.leadership.check()
            await asyncio.sleep(5.5)
            setattr(server, how, True)
            await asyncio.sleep(TIMES.deadline - TIMES.attempt - TIMES.renew_every)
            setattr(server, how, False)
            await asyncio.sleep(60)
            assert first.leadership.check() == epoch

    run_virtually(scene())


@pytest.mark.parametrize("how", ["down", "hangs"])
def test_a_longer_outage_ends_the_leader_before_anybody_else_may_lead(how: str) -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a", "b") as (first, second):
            await first.wait_to_lead()
            await asyncio.sleep(5.5)
            setattr(server, how, True)
            cut = now()
            ended, reason = await first.wait_to_end()
            assert reason == "the Lease was not renewed in time"
            assert TIMES.deadline - TIMES.renew_every <= ended - cut <= TIMES.deadline + 0.1
            setattr(server, how, False)
            assert await second.wait_to_lead() - cut >= TIMES.lasts - TIMES.renew_every

    run_virtually(scene())


def test_between_two_renewals_it_does_not_act_past_its_time() -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a") as (first,):
            await first.wait_to_lead()
            first.skew = TIMES.deadline + 1  # as after SIGSTOP: the clock has gone on, nothing else has
            assert not first.leads
            with pytest.raises(Abandoned, match="not renewed in time"):
                first.leadership.check()

    run_virtually(scene())


def test_a_renewal_whose_answer_was_lost_is_one() -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a") as (first,):
            await first.wait_to_lead()
            epoch = first.leadership.check()
            for _ in range(5):
                server.lose_answers = 2
                await asyncio.sleep(10)
            assert first.leadership.check() == epoch

    run_virtually(scene())


@pytest.mark.parametrize("holder", ["somebody", ""])
def test_one_whose_lease_another_has_taken_ends_at_its_next_renewal(holder: str) -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a") as (first,):
            await first.wait_to_lead()
            assert server.lease is not None
            taken = {**server.lease, "spec": {**server.spec, "holderIdentity": holder}}
            server._store(taken)
            begun = now()
            ended, reason = await first.wait_to_end()
            assert ended - begun <= TIMES.renew_every + 0.2
            assert reason == f"the Lease is held by {holder or 'nobody'}"

    run_virtually(scene())


def test_one_whose_lease_was_deleted_ends_and_the_next_epoch_is_higher() -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a", "b") as (first, second):
            await first.wait_to_lead()
            await asyncio.sleep(5)
            epoch = first.leadership.check()
            server.lease = None
            await first.wait_to_end()
            await second.wait_to_lead()
            assert second.leadership.check() > epoch

    run_virtually(scene())


def test_a_process_that_follows_in_the_same_pod_need_not_wait() -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "a", "b") as (first, second):
            await first.wait_to_lead()
            epoch = first.leadership.check()
            await first.stop()
            begun = now()
            async with replicas(server, "a") as (again,):
                assert await again.wait_to_lead() - begun < 0.5
                assert again.leadership.check() == epoch + 1
                assert not second.leads

    run_virtually(scene())


def test_outside_a_pod_it_does_wait() -> None:
    async def scene() -> None:
        server = FakeServer()
        async with replicas(server, "") as (first,):
            await first.wait_to_lead()
            await first.stop()
            begun = now()
            async with replicas(server, "") as (again,):
                assert await again.wait_to_lead() - begun >= TIMES.lasts - TIMES.renew_every

    run_virtually(scene())


def test_it_waits_for_as_long_as_the_holder_said_and_not_as_long_as_itself_would() -> None:
    async def scene() -> None:
        server = FakeServer()
        await server.apply("", {"metadata": {}, "spec": {"holderIdentity": "old version", "leaseDurationSeconds": 25}})
        async with replicas(server, "a") as (first,):
            begun = now()
            assert 24 <= await first.wait_to_lead() - begun <= 26

    run_virtually(scene())


def test_the_epoch_is_the_creation_and_the_transitions() -> None:
    lease = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"leaseTransitions": 3}}
    assert epoch_of(lease) == 1_767_225_600_000_003
    assert epoch_of({**lease, "spec": {}}) == 1_767_225_600_000_000


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_two_never_lead_and_epochs_only_grow(seed: int) -> None:
    """Ten minutes of outages, hangs, lost answers, stops and kills among three replicas."""

    async def scene() -> None:
        chance = random.Random(seed)
        server, epochs = FakeServer(), [0]
        async with replicas(server, "a", "b", "c") as living:
            end, led = now() + 600, 0
            while now() < end:
                await asyncio.sleep(0.1)
                leaders = [replica for replica in living if replica.leads]
                assert len(leaders) <= 1
                led += len(leaders)
                for leader in leaders:
                    epoch = leader.leadership.check()
                    assert epoch >= epochs[-1]
                    epochs.append(epoch)
                if chance.random() < 0.02:
                    server.down, server.hangs = chance.random() < 0.3, chance.random() < 0.2
                    server.lose_answers = chance.choice([0, 0, 1, 3])
                if chance.random() < 0.01:
                    chosen = chance.randrange(3)
                    if living[chosen].leads and chance.random() < 0.5:
                        living[chosen].skew += chance.uniform(0, 20)
                    else:
                        await living[chosen].stop()
                for number, replica in enumerate(living):
                    if replica.ended is not None:
                        living[number] = Replica(server, "abc"[number])
            assert len(set(epochs)) > 3
            assert led > 1000

    run_virtually(scene())
