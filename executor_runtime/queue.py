"""Who runs next: slots, and a first-in first-out queue in front of them (the seed's T091).

A plain data structure without I/O: whoever holds a ticket waits on its event. An execution whose
session is busy is passed over without holding a slot; within a session the order stays.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from contracts import bounds
from executor_runtime.errors import QueueFull

MAX_WAITING: Final = bounds.MAX_QUEUED_EXECUTIONS


@dataclass(eq=False)
class Ticket:
    """A place in the queue, later a slot."""

    session_id: str | None
    admitted: asyncio.Event = field(default_factory=asyncio.Event)


class Queue:
    """``slots`` executions run at a time, ``max_waiting`` more wait in order."""

    def __init__(self, slots: int, max_waiting: int = MAX_WAITING) -> None:
        self._slots = slots
        self._max_waiting = max_waiting
        self._waiting: deque[Ticket] = deque()
        self._running: set[Ticket] = set()
        self._busy_sessions: set[str] = set()

    @property
    def slots(self) -> int:
        """Tickets that can hold one at a time."""
        return self._slots

    @property
    def running(self) -> int:
        """Tickets that hold a slot."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Tickets that wait for one."""
        return len(self._waiting)

    def enter(self, session_id: str | None = None) -> Ticket:
        """A ticket, admitted at once when a slot and the session are free.

        Raises:
            QueueFull: it would have to wait, and the queue is full.
        """
        ticket = Ticket(session_id)
        self._waiting.append(ticket)
        self._admit()
        if len(self._waiting) > self._max_waiting:
            self._waiting.remove(ticket)
            raise QueueFull(
                f"All {self._slots} slots are busy and {self._max_waiting} executions wait already.",
                solution="Send the request again after the seconds that Retry-After names, or use another executor.",
            )
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Gives the slot back, or stops waiting for one; leaving twice changes nothing."""
        if ticket in self._running:
            self._running.remove(ticket)
            if ticket.session_id is not None:
                self._busy_sessions.discard(ticket.session_id)
            self._admit()
        elif ticket in self._waiting:
            self._waiting.remove(ticket)

    def _admit(self) -> None:
        for ticket in list(self._waiting):
            if len(self._running) >= self._slots:
                return
            if ticket.session_id is not None and ticket.session_id in self._busy_sessions:
                continue
            self._waiting.remove(ticket)
            self._running.add(ticket)
            if ticket.session_id is not None:
                self._busy_sessions.add(ticket.session_id)
            ticket.admitted.set()
