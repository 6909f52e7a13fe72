import pytest

from executor_runtime.errors import QueueFull
from executor_runtime.queue import Queue, Ticket


def admitted(*tickets: Ticket) -> list[bool]:
    return [ticket.admitted.is_set() for ticket in tickets]


def test_as_many_run_as_there_are_slots_and_the_rest_follow_in_order() -> None:
    queue = Queue(slots=2)
    tickets = [queue.enter() for _ in range(5)]
    assert admitted(*tickets) == [True, True, False, False, False]
    queue.leave(tickets[1])
    assert admitted(*tickets) == [True, True, True, False, False]
    assert (queue.running, queue.waiting) == (2, 2)


def test_the_one_after_the_last_place_is_refused_and_leaves_no_trace() -> None:
    queue = Queue(slots=1, max_waiting=10)
    running = queue.enter()
    waiting = [queue.enter() for _ in range(10)]
    with pytest.raises(QueueFull) as refused:
        queue.enter()
    assert refused.value.headers["Retry-After"] == "1"
    assert (queue.running, queue.waiting) == (1, 10)
    queue.leave(running)
    assert admitted(*waiting) == [True] + [False] * 9


def test_one_of_a_session_runs_at_a_time_and_the_others_hold_no_slot() -> None:
    queue = Queue(slots=3)
    first, second, third = (queue.enter("s") for _ in range(3))
    other = queue.enter("t")
    assert admitted(first, second, third, other) == [True, False, False, True]
    assert queue.running == 2
    queue.leave(first)
    assert admitted(second, third) == [True, False]


def test_a_session_that_waits_does_not_hold_up_those_behind_it() -> None:
    queue = Queue(slots=1)
    first = queue.enter("s")
    second, plain = queue.enter("s"), queue.enter()
    queue.leave(first)
    assert admitted(second, plain) == [True, False]


def test_a_waiting_one_that_leaves_frees_its_place_and_leaving_twice_changes_nothing() -> None:
    queue = Queue(slots=1, max_waiting=1)
    running, waiting = queue.enter(), queue.enter()
    queue.leave(waiting)
    queue.leave(waiting)
    next_one = queue.enter()
    queue.leave(running)
    queue.leave(running)
    assert admitted(waiting, next_one) == [False, True]
    assert (queue.running, queue.waiting) == (1, 0)
