"""Sessions as placement sees them: one Execution at a time, in order, on the pod that has the session's workspace.

A session is at home on the pod where its first Execution ran, for as long as that pod is there. What waits for its
turn or for a slot of its home stands aside here, so that the pool's queue moves on without it.
"""

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

Entry = tuple[tuple[Any, ...], str]
"""(order, uid), as in the pool's queue."""
MAX_IDLE: Final = 50_000
"""Idle sessions whose home is remembered; the one that was idle longest gives way."""


@dataclass(slots=True)
class _Session:
    home: str = ""
    members: int = 0
    """Executions of it that run or wait."""
    turn: str = ""
    """The uid of the one that runs or is next."""
    order_of: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Those that stand aside until it is their turn."""
    heap: list[Entry] = field(default_factory=list)
    """The same in order; entries of those that have left meanwhile are passed over."""

    def pop_next(self) -> list[Entry]:
        """The first of those that stand aside, if there is one."""
        while self.heap:
            order, uid = heapq.heappop(self.heap)
            if self.order_of.get(uid) == order:
                del self.order_of[uid]
                return [(order, uid)]
        return []


class Sessions:
    """Sessions by a key that is unique over tenants and pools. Nothing here is durable."""

    def __init__(self, max_idle: int = MAX_IDLE) -> None:
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._key_of: dict[str, str] = {}
        self._aside: dict[str, list[Entry]] = {}
        self._max_idle = max_idle

    def join(self, uid: str, key: str) -> None:
        """This Execution belongs to the session."""
        if uid not in self._key_of:
            self._key_of[uid] = key
            self._sessions.setdefault(key, _Session()).members += 1

    def settle(self, key: str, pod: str) -> None:
        """The session's workspace is on this pod."""
        self._sessions.setdefault(key, _Session()).home = pod
        self._bound()

    def settle_at(self, uid: str, pod: str) -> None:
        """It runs on this pod, which becomes its session's home."""
        if key := self._key_of.get(uid):
            self.settle(key, pod)

    def take_turn(self, entry: Entry) -> bool:
        """Whether it is this one's turn; if it is not, it stands aside until ``leave`` gives it back."""
        session = self._of(entry[1])
        if session is None:
            return True
        if session.turn in ("", entry[1]):
            session.turn = entry[1]
            return True
        order, uid = entry
        session.order_of[uid] = order
        heapq.heappush(session.heap, entry)
        return False

    def home(self, uid: str) -> str:
        """The pod that it must run on; empty when it may run on any."""
        session = self._of(uid)
        return session.home if session else ""

    def wait_for(self, pod: str, entry: Entry) -> None:
        """It is its turn, but its home has no free slot: it stands aside until ``freed`` gives it back."""
        self._aside.setdefault(pod, []).append(entry)

    def freed(self, pod: str) -> list[Entry]:
        """Those that stood aside for a slot of this pod."""
        return self._aside.pop(pod, [])

    def evict(self, pod: str) -> list[Entry]:
        """The pod goes away, and with it the workspaces on it: its sessions may run anywhere. As ``freed``."""
        for session in self._sessions.values():
            if session.home == pod:
                session.home = ""
        return self.freed(pod)

    def leave(self, uid: str) -> list[Entry]:
        """It has ended or does not wait any more: gives back the next of its session, if it was its turn."""
        key = self._key_of.pop(uid, "")
        session = self._sessions.get(key)
        if session is None:
            return []
        session.members -= 1
        session.order_of.pop(uid, None)
        if session.turn == uid:
            session.turn = ""
            self._sessions.move_to_end(key)
        offered = [] if session.turn else session.pop_next()
        if not session.members and not session.home:
            del self._sessions[key]
        self._bound()
        return offered

    def _of(self, uid: str) -> _Session | None:
        return self._sessions.get(self._key_of.get(uid, ""))

    def _bound(self) -> None:
        """Forgets homes of the idle ones that are too many, the oldest first."""
        excess = len(self._sessions) - self._max_idle
        if excess > 0:
            idle = (key for key, session in self._sessions.items() if not session.members)
            for key in [key for key, _ in zip(idle, range(excess), strict=False)]:
                del self._sessions[key]
