"""Who runs where: a queue for each pool, in order, and the slots of the pods that take work.

No I/O and no clock, so that a state machine test can drive it: never more than the
concurrency on a pod, first come first served within a pool, nothing lost. Executions of one session run one
after the other on the pod that has its workspace (``sessions``); others pass by while one waits for that.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from controller.sessions import Entry, Sessions

Order = tuple[Any, ...]
_SLACK: Final = 256
"""Entries that a heap may hold beyond those that count before it is made anew."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An Execution (by uid) that now holds a slot of a pod."""

    uid: str
    pod: str


@dataclass(frozen=True, slots=True)
class PoolCount:
    """The slots of a pool and what waits for them."""

    busy: int
    free: int
    queued: int


@dataclass(slots=True)
class _PodSlots:
    pool: str
    capacity: int
    accepts: bool
    holders: set[str] = field(default_factory=set)
    counted_busy: int = 0
    counted_free: int = 0
    """What its pool's sums hold of it."""

    @property
    def free(self) -> int:
        return max(self.capacity - len(self.holders), 0) if self.accepts else 0


@dataclass(slots=True)
class _PoolSlots:
    """Sums over a pool's pods, so that neither a count nor a choice looks at each of a thousand."""

    pods: dict[str, _PodSlots] = field(default_factory=dict)
    busy: int = 0
    free: int = 0
    heap: list[tuple[int, str]] = field(default_factory=list)
    """(free slots negated, pod); entries that are no longer so are passed over."""

    def recount(self, pod: str) -> None:
        """Takes over what has changed about a pod."""
        slots = self.pods[pod]
        busy, free = len(slots.holders), slots.free
        self.busy += busy - slots.counted_busy
        self.free += free - slots.counted_free
        if free and free != slots.counted_free:
            heapq.heappush(self.heap, (-free, pod))
        slots.counted_busy, slots.counted_free = busy, free
        if len(self.heap) > 2 * len(self.pods) + _SLACK:
            self.heap = [(-each.free, name) for name, each in self.pods.items() if each.free]
            heapq.heapify(self.heap)

    def freest(self) -> str | None:
        """The pod with most free slots; by name among equals, so that the choice can be repeated."""
        while self.heap:
            negated, pod = self.heap[0]
            slots = self.pods.get(pod)
            if slots is not None and slots.free == -negated:
                return pod
            heapq.heappop(self.heap)
        return None


@dataclass(slots=True)
class _Queue:
    heap: list[Entry] = field(default_factory=list)
    """Some entries are of Executions that wait no more; some that wait stand aside for their session."""
    order_of: dict[str, Order] = field(default_factory=dict)
    """All that wait."""


class Placement:
    """Queues and slots of all pools. Executions and pods go by unique keys (uid, pod name)."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._pool_of: dict[str, str] = {}
        self._pods: dict[str, _PodSlots] = {}
        self._pools: dict[str, _PoolSlots] = {}
        self._slot_of: dict[str, str] = {}
        self._sessions = Sessions()

    def set_pod(self, pod: str, pool: str, capacity: int, accepts: bool) -> None:
        """Says what a pod offers now; Executions that hold its slots keep them."""
        slots = self._pods.get(pod)
        if slots is None:
            self._pods[pod] = slots = _PodSlots(pool, capacity, accepts)
            self._pools.setdefault(pool, _PoolSlots()).pods[pod] = slots
        slots.capacity, slots.accepts = capacity, accepts
        self._recount(pod)
        if slots.free > 0:
            self._return(self._sessions.freed(pod))

    def evict_sessions(self, pod: str) -> None:
        """The pod is about to go: sessions that are at home there begin anew elsewhere, with an empty workspace."""
        self._return(self._sessions.evict(pod))

    def settle_session(self, session: str, pod: str) -> None:
        """A session's workspace is on this pod (known from before a restart)."""
        if pod in self._pods:
            self._sessions.settle(session, pod)

    def remove_pod(self, pod: str) -> frozenset[str]:
        """Forgets a pod that is gone; returns who held its slots."""
        slots = self._pods.get(pod)
        if slots is None:
            return frozenset()
        holders = frozenset(slots.holders)
        slots.accepts = False
        slots.holders.clear()
        self._recount(pod)
        del self._pods[pod], self._pools[slots.pool].pods[pod]
        self.evict_sessions(pod)
        for uid in holders:
            del self._slot_of[uid]
            self._return(self._sessions.leave(uid))
        return holders

    def enqueue(self, uid: str, pool: str, order: Order, session: str = "") -> None:
        """Puts an Execution into its pool's queue, once; the order decides, not the time of the call."""
        if uid in self._pool_of or uid in self._slot_of:
            return
        queue = self._queues.setdefault(pool, _Queue())
        queue.order_of[uid] = order
        heapq.heappush(queue.heap, (order, uid))
        self._pool_of[uid] = pool
        if session:
            self._sessions.join(uid, session)

    def withdraw(self, uid: str) -> bool:
        """Takes an Execution out of its queue; False when it was not waiting."""
        pool = self._pool_of.pop(uid, None)
        if pool is None:
            return False
        queue = self._queues[pool]
        del queue.order_of[uid]
        self._return(self._sessions.leave(uid))
        if len(queue.heap) > 2 * len(queue.order_of) + _SLACK:
            queue.heap = [entry for entry in queue.heap if entry[1] in queue.order_of]
            heapq.heapify(queue.heap)
        return True

    def occupy(self, uid: str, pod: str, session: str = "") -> None:
        """Counts an Execution that already runs on a pod (after a restart), even above the capacity."""
        if uid not in self._slot_of and pod in self._pods:
            self._hold(uid, pod)
            if session:
                self._sessions.join(uid, session)
                self._sessions.take_turn(((), uid))
                self._sessions.settle(session, pod)

    def release(self, uid: str) -> None:
        """Gives the slot of an Execution back, if it holds one."""
        pod = self._slot_of.pop(uid, None)
        if pod is not None:
            self._pods[pod].holders.discard(uid)
            self._recount(pod)
            self._return(self._sessions.leave(uid))
            self._return(self._sessions.freed(pod))

    def holders(self, pod: str) -> frozenset[str]:
        """Who holds slots of a pod."""
        slots = self._pods.get(pod)
        return frozenset(slots.holders) if slots else frozenset()

    def place(self, pool: str) -> Iterator[Placed]:
        """Gives the free slots of a pool to the first in its queue; each that is yielded holds its slot."""
        queue, slots = self._queues.get(pool), self._pools.get(pool)
        while queue is not None and slots is not None and queue.heap:
            free = slots.freest()
            if free is None:
                return
            entry = heapq.heappop(queue.heap)
            if (pod := self._pod_for(entry, queue, free)) is not None:
                uid = entry[1]
                del queue.order_of[uid]
                del self._pool_of[uid]
                self._hold(uid, pod)
                yield Placed(uid, pod)

    def _pod_for(self, entry: Entry, queue: _Queue, free: str) -> str | None:
        """Where the first of the queue runs now; None when it waits no more, or stands aside for its session."""
        uid = entry[1]
        if uid not in queue.order_of or not self._sessions.take_turn(entry):
            return None
        home = self._sessions.home(uid)
        if not home:
            self._sessions.settle_at(uid, free)
            return free
        if self._pods[home].free == 0:
            self._sessions.wait_for(home, entry)
            return None
        return home

    def _return(self, entries: list[Entry]) -> None:
        """Puts those that stood aside back into their queues, unless they do not wait any more."""
        for entry in entries:
            pool = self._pool_of.get(entry[1])
            if pool is not None:
                heapq.heappush(self._queues[pool].heap, entry)

    def queued(self, pool: str) -> int:
        """How many wait in a pool's queue."""
        queue = self._queues.get(pool)
        return len(queue.order_of) if queue else 0

    def waiting_uids(self, pool: str) -> frozenset[str]:
        """Who waits in a pool's queue, in no order."""
        queue = self._queues.get(pool)
        return frozenset(queue.order_of) if queue else frozenset()

    def is_waiting(self, uid: str) -> bool:
        """Whether it stands in a queue."""
        return uid in self._pool_of

    def waiting(self, pool: str) -> list[str]:
        """Who waits in a pool's queue, first come first."""
        queue = self._queues.get(pool)
        return sorted(queue.order_of, key=lambda uid: (queue.order_of[uid], uid)) if queue else []

    def count(self, pool: str) -> PoolCount:
        """The pool's slots: busy ones on any of its pods, free ones on pods that take work."""
        slots = self._pools.get(pool) or _PoolSlots()
        return PoolCount(busy=slots.busy, free=slots.free, queued=self.queued(pool))

    def _hold(self, uid: str, pod: str) -> None:
        self._pods[pod].holders.add(uid)
        self._slot_of[uid] = pod
        self._recount(pod)

    def _recount(self, pod: str) -> None:
        self._pools[self._pods[pod].pool].recount(pod)
