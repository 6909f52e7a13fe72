"""Placement as a state machine: whatever happens, in whatever order, its promises hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from controller.placement import Placement

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
            assert self.placement.count(pool).busy == busy


PlacementMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPlacement = PlacementMachine.TestCase


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


def test_the_freest_pod_is_taken_first() -> None:
    placement = Placement()
    placement.set_pod("small", "pool", 1, accepts=True)
    placement.set_pod("large", "pool", 3, accepts=True)
    for number in range(4):
        placement.enqueue(str(number), "pool", (number,))
    assert [item.pod for item in placement.place("pool")] == ["large", "large", "large", "small"]
