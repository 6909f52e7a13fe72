"""What is still to be told: keys and times only, so that thousands of them are a few megabytes.

New ones go out in the order in which they came, old ones when their next attempt is due, in turn,
so that neither a long backlog holds up what is fresh nor the other way round.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

MAX_LENGTH: Final = 100_000
_FAR_S: Final = 3600.0


@dataclass(slots=True)
class Item:
    """One thing to tell. ``kind`` and ``key`` name it, ``queued`` is when it came (monotonic seconds)."""

    kind: str
    key: str
    queued: float
    attempts: int = 0
    due: float = 0.0
    under_way: bool = False
    again: bool = False


ItemT = TypeVar("ItemT", bound=Item)


class Backlog(Generic[ItemT]):
    """Items by key. One is taken by one at a time."""

    def __init__(self, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length
        self._items: dict[str, ItemT] = {}
        self._fresh: deque[str] = deque()
        self._late: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._fresh_first = True
        self.changed: Callable[[], None] = lambda: None
        self.overflowed = False
        """Whether something found no room; whoever lists again sets it back."""

    def __len__(self) -> int:
        return len(self._items)

    def count(self, kind: str) -> int:
        """How many of a kind there are."""
        return sum(item.kind == kind for item in self._items.values())

    def oldest_s(self, now: float) -> float:
        """Age of the one that has waited longest; 0 when there is none."""
        return max((now - item.queued for item in self._items.values()), default=0.0)

    def get(self, key: str) -> ItemT | None:
        """The item of this key."""
        return self._items.get(key)

    def add(self, item: ItemT) -> None:
        """Puts in something new; one that is there already is looked at again."""
        known = self._items.get(item.key)
        if known is not None:
            known.again = known.under_way
            return
        if len(self._items) >= self._max_length:
            self.overflowed = True
            return
        self._items[item.key] = item
        if item.due:
            self._push(item)
        else:
            self._fresh.append(item.key)
        self.changed()

    def take(self, now: float) -> ItemT | None:
        """The next one that is due, marked as under way; None when there is none."""
        self._fresh_first = not self._fresh_first
        ways = (self._take_fresh, self._take_late) if self._fresh_first else (self._take_late, self._take_fresh)
        for way in ways:
            if (item := way(now)) is not None:
                item.under_way = True
                return item
        return None

    def claim(self, key: str) -> ItemT | None:
        """Takes one out of its turn; None when it is not there or under way. Follow with ``put_back`` or ``remove``."""
        item = self._items.get(key)
        if item is None or item.under_way:
            return None
        item.under_way = True
        return item

    def put_back(self, item: ItemT, due: float) -> None:
        """What was taken is looked at again at this time, or at once when it was added meanwhile."""
        item.under_way = False
        item.due = 0.0 if item.again else due
        item.again = False
        self._push(item)
        self.changed()

    def remove(self, item: ItemT) -> None:
        """What was taken is told; when it was added again meanwhile, it is looked at once more."""
        if item.again:
            item.attempts = 0
            self.put_back(item, 0.0)
            return
        self._items.pop(item.key, None)
        self.changed()

    def hasten(self, key: str, now: float) -> None:
        """One that waits for its time is due now."""
        item = self._items.get(key)
        if item is not None and not item.under_way and item.due > now:
            item.due = now
            self._push(item)
            self.changed()

    def pause_s(self, now: float) -> float:
        """How long until one is due."""
        if self._fresh:
            return 0.0
        return max(self._late[0][0] - now, 0.0) if self._late else _FAR_S

    def _push(self, item: ItemT) -> None:
        heapq.heappush(self._late, (item.due, next(self._order), item.key))

    def _take_fresh(self, _now: float) -> ItemT | None:
        while self._fresh:
            item = self._items.get(self._fresh.popleft())
            if item is not None and not item.under_way and item.due == 0.0:
                return item
        return None

    def _take_late(self, now: float) -> ItemT | None:
        while self._late and self._late[0][0] <= now:
            due, _, key = heapq.heappop(self._late)
            item = self._items.get(key)
            if item is not None and not item.under_way and item.due == due:
                return item
        return None
