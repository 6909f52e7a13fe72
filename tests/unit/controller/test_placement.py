"""Placement as a state machine: whatever happens, in whatever order, its promises hold."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from controller import placement as placement_module
from controller.placement import Placement
from controller.sessions import Sessions

POOLS = ("red", "blue")


class PlacementMachine(RuleBasedStateMachine):
    """Drives Placement beside a model that is too simple to be wrong."""

    uids = Bundle("uids")

    def __init__(self) -> None:
        super().__init__()
        self.placement = Placement()
        self.capacity: dict[str, tuple[str, int, bool]] = {}
        self.queue: dict[str, list[tuple[int, str]]] = {pool: [] for pool in POOLS}
        self.slots: dict[str, str] = {}
        self.over: set[str] = set()
        self.made = 0

    @initialize()
    def start_with_a_pod(self) -> None:
        self.set_pod("pod-0", 2, True)

    @rule(pod=st.sampled_from(["pod-0", "pod-1", "pod-2"]), capacity=st.integers(1, 3), accepts=st.booleans())
    def set_pod(self, pod: str, capacity: int, accepts: bool) -> None:
        pool = POOLS[int(pod[-1]) % 2]
        self.placement.set_pod(pod, pool, capacity, accepts)
        self.capacity[pod] = (pool, capacity, accepts)
        if sum(1 for holder in self.slots.values() if holder == pod) > capacity:
            self.over.add(pod)

    @rule(pod=st.sampled_from(["pod-0", "pod-1", "pod-2"]))
    def remove_pod(self, pod: str) -> None:
        lost = {uid for uid, holder in self.slots.items() if holder == pod}
        assert self.placement.remove_pod(pod) == lost
        self.slots = {uid: holder for uid, holder in self.slots.items() if uid not in lost}
        self.capacity.pop(pod, None)
        self.over.discard(pod)

    @rule(target=uids, pool=st.sampled_from(POOLS), order=st.integers(0, 5))
    def enqueue(self, pool: str, order: int) -> str:
        uid = f"{self.made:04d}"
        self.made += 1
        for _ in range(2):
            self.placement.enqueue(uid, pool, (order,))
        self.queue[pool].append((order, uid))
        return uid

    @rule(uid=consumes(uids))
    def withdraw(self, uid: str) -> None:
        waits = any(uid == other for queue in self.queue.values() for _, other in queue)
        assert self.placement.withdraw(uid) is waits
        for pool in POOLS:
            self.queue[pool] = [entry for entry in self.queue[pool] if entry[1] != uid]

    @rule(uid=uids)
    def release(self, uid: str) -> None:
        self.placement.release(uid)
        pod = self.slots.pop(uid, None)
        if pod is not None and len(self.placement.holders(pod)) <= self.capacity[pod][1]:
            self.over.discard(pod)

    @rule(pool=st.sampled_from(POOLS))
    def place(self, pool: str) -> None:
        free = sum(
            max(capacity - len(self.placement.holders(pod)), 0)
            for pod, (of, capacity, accepts) in self.capacity.items()
            if of == pool and accepts
        )
        placed = list(self.placement.place(pool))
        expected = sorted(self.queue[pool])[:free]
        assert [item.uid for item in placed] == [uid for _, uid in expected], "first come, first served, none held back"
        for item in placed:
            of, _, accepts = self.capacity[item.pod]
            assert of == pool
            assert accepts
            self.slots[item.uid] = item.pod
        self.queue[pool] = sorted(self.queue[pool])[free:]

    @invariant()
    def never_above_the_capacity(self) -> None:
        for pod, (_, capacity, _) in self.capacity.items():
            assert len(self.placement.holders(pod)) <= capacity or pod in self.over

    @invariant()
    def nothing_is_lost(self) -> None:
        for pool in POOLS:
            assert self.placement.waiting(pool) == [uid for _, uid in sorted(self.queue[pool])]
            assert self.placement.queued(pool) == len(self.queue[pool])
            busy = sum(1 for pod in self.slots.values() if self.capacity[pod][0] == pool)
            free = sum(
                max(capacity - len(self.placement.holders(pod)), 0)
                for pod, (of, capacity, accepts) in self.capacity.items()
                if of == pool and accepts
            )
            count = self.placement.count(pool)
            assert (count.busy, count.free) == (busy, free)


PlacementMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPlacement = PlacementMachine.TestCase


SESSIONS = ("", "", "a", "b", "c")


class SessionsMachine(RuleBasedStateMachine):
    """Sessions beside a model that looks at everything anew each time."""

    uids = Bundle("uids")

    def __init__(self) -> None:
        super().__init__()
        self.placement = Placement()
        self.pods: dict[str, tuple[int, bool]] = {}
        self.waiting: list[str] = []
        self.session_of: dict[str, str] = {}
        self.slots: dict[str, str] = {}
        self.homes: dict[str, str] = {}
        self.made = 0

    @initialize()
    def start_with_a_pod(self) -> None:
        self.set_pod("pod-0", 2, True)

    @rule(pod=st.sampled_from(["pod-0", "pod-1"]), capacity=st.integers(1, 3), accepts=st.booleans())
    def set_pod(self, pod: str, capacity: int, accepts: bool) -> None:
        self.placement.set_pod(pod, "pool", capacity, accepts)
        self.pods[pod] = (capacity, accepts)

    @rule(pod=st.sampled_from(["pod-0", "pod-1"]), wholly=st.booleans())
    def lose_pod(self, pod: str, wholly: bool) -> None:
        self.homes = {session: home for session, home in self.homes.items() if home != pod}
        if wholly:
            self.placement.remove_pod(pod)
            self.pods.pop(pod, None)
            self.slots = {uid: holder for uid, holder in self.slots.items() if holder != pod}
        else:
            self.placement.evict_sessions(pod)

    @rule(target=uids, session=st.sampled_from(SESSIONS))
    def enqueue(self, session: str) -> str:
        uid = f"{self.made:04d}"
        self.made += 1
        self.session_of[uid] = session
        self.waiting.append(uid)
        self.placement.enqueue(uid, "pool", (self.made,), session)
        return uid

    @rule(uid=uids)
    def withdraw(self, uid: str) -> None:
        assert self.placement.withdraw(uid) is (uid in self.waiting)
        self.waiting = [other for other in self.waiting if other != uid]

    @rule(uid=uids)
    def release(self, uid: str) -> None:
        self.placement.release(uid)
        self.slots.pop(uid, None)

    @rule()
    def place(self) -> None:
        placed = {item.uid: item.pod for item in self.placement.place("pool")}
        expected = self.choose()
        assert placed == expected
        self.waiting = [uid for uid in self.waiting if uid not in expected]

    def choose(self) -> dict[str, str]:
        """Who is placed now, and where, by looking at everybody in order."""
        chosen: dict[str, str] = {}
        for uid in self.waiting:
            free = {pod: self.free(pod) for pod in sorted(self.pods)}
            if not any(free.values()):
                break
            session = self.session_of[uid]
            if session and session in {self.session_of[holder] for holder in self.slots}:
                continue
            home = self.homes.get(session, "") if session else ""
            pod = home or max(free, key=lambda name: free[name])
            if free[pod] == 0:
                continue
            if session:
                self.homes[session] = pod
            self.slots[uid] = chosen[uid] = pod
        return chosen

    def free(self, pod: str) -> int:
        capacity, accepts = self.pods[pod]
        return max(capacity - sum(holder == pod for holder in self.slots.values()), 0) if accepts else 0

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.placement.waiting("pool") == self.waiting
        assert self.placement.count("pool").busy == len(self.slots)


SessionsMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestSessions = SessionsMachine.TestCase


def test_a_session_goes_on_where_it_was_before_a_restart() -> None:
    placement = Placement()
    placement.set_pod("pod-a", "pool", 4, accepts=True)
    placement.set_pod("pod-b", "pool", 2, accepts=True)
    placement.settle_session("s", "pod-b")
    placement.occupy("runs", "pod-b", "t")
    placement.enqueue("1", "pool", (1,), "s")
    placement.enqueue("2", "pool", (2,), "t")
    placement.enqueue("3", "pool", (3,))
    assert {item.uid: item.pod for item in placement.place("pool")} == {"1": "pod-b", "3": "pod-a"}
    placement.release("runs")
    assert {item.uid: item.pod for item in placement.place("pool")} == {"2": "pod-b"}


def test_the_homes_that_are_remembered_are_bounded() -> None:
    sessions = Sessions(max_idle=3)
    for number in range(10):
        sessions.join(str(number), f"session-{number}")
        assert sessions.take_turn(((number,), str(number)))
        sessions.settle_at(str(number), "pod")
        sessions.leave(str(number))
    homes = []
    for number in range(10):
        sessions.join(f"again-{number}", f"session-{number}")
        homes.append(sessions.home(f"again-{number}"))
    assert homes[-3:] == ["pod"] * 3
    assert homes.count("") == 7


def test_an_adopted_one_counts_even_above_the_capacity() -> None:
    placement = Placement()
    placement.set_pod("pod", "pool", 1, accepts=True)
    placement.occupy("a", "pod")
    placement.occupy("b", "pod")
    placement.enqueue("c", "pool", (1,))
    assert list(placement.place("pool")) == []
    placement.release("a")
    assert list(placement.place("pool")) == []
    placement.release("b")
    assert [item.uid for item in placement.place("pool")] == ["c"]


def test_many_withdrawn_ones_leave_no_memory_behind() -> None:
    placement = Placement()
    for number in range(10_000):
        placement.enqueue(str(number), "pool", (number,))
    for number in range(9_990):
        placement.withdraw(str(number))
    placement.set_pod("pod", "pool", 20, accepts=True)
    assert [item.uid for item in placement.place("pool")] == [str(number) for number in range(9_990, 10_000)]


def test_a_placement_looks_at_few_pods_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    free = placement_module._PodSlots.free

    def count_looks(slots: placement_module._PodSlots) -> int:
        nonlocal looked
        looked += 1
        number: int = free.__get__(slots)
        return number

    monkeypatch.setattr(placement_module._PodSlots, "free", property(count_looks))
    placement = Placement()
    for number in range(1000):
        placement.set_pod(f"pod-{number}", "pool", 4, accepts=True)
    for number in range(10_000):
        placement.enqueue(str(number), "pool", (number,))
    looked = placed = 0
    while placement.queued("pool"):
        assert placement.count("pool").free
        for item in list(placement.place("pool")):
            placed += 1
            placement.release(item.uid)
    assert placed == 10_000
    assert looked <= 10 * placed


def test_the_freest_pod_is_taken_first() -> None:
    placement = Placement()
    placement.set_pod("small", "pool", 1, accepts=True)
    placement.set_pod("large", "pool", 3, accepts=True)
    for number in range(4):
        placement.enqueue(str(number), "pool", (number,))
    assert [item.pod for item in placement.place("pool")] == ["large", "large", "large", "small"]
