"""What is still to be told: its order, its size, and that one is never taken by two."""

import tracemalloc

from controller.relay.backlog import Backlog, Item
from controller.relay.results import ResultItem


def make(*keys: str, **options: int) -> Backlog[Item]:
    backlog: Backlog[Item] = Backlog(**options)
    for key in keys:
        backlog.add(Item("result", key, queued=0.0))
    return backlog


def take_keys(backlog: Backlog[Item], now: float) -> list[str]:
    found = []
    while (item := backlog.take(now)) is not None:
        found.append(item.key)
    return found


def test_what_is_fresh_goes_in_its_order_and_each_is_taken_once() -> None:
    backlog = make("a", "b", "c", "a")
    assert len(backlog) == 3
    assert take_keys(backlog, 0.0) == ["a", "b", "c"]
    assert take_keys(backlog, 1e9) == []


def test_fresh_and_late_ones_go_in_turn() -> None:
    backlog = make("old-1", "old-2")
    for item in [backlog.take(0.0), backlog.take(0.0)]:
        assert item is not None
        backlog.put_back(item, 5.0)
    for key in ("new-1", "new-2"):
        backlog.add(Item("result", key, queued=5.0))
    taken = take_keys(backlog, 5.0)
    assert [key[:3] for key in taken[:2]] != ["old", "old"]
    assert [key[:3] for key in taken[:2]] != ["new", "new"]
    assert sorted(taken) == ["new-1", "new-2", "old-1", "old-2"]


def test_what_is_put_back_comes_when_it_is_due_and_not_sooner() -> None:
    backlog = make("a")
    item = backlog.take(0.0)
    assert item is not None
    backlog.put_back(item, 8.0)
    assert backlog.take(7.9) is None
    assert backlog.pause_s(7.0) == 1.0
    assert take_keys(backlog, 8.0) == ["a"]


def test_what_is_added_while_it_is_under_way_is_looked_at_again() -> None:
    backlog = make("a")
    item = backlog.take(0.0)
    assert item is not None
    backlog.add(Item("result", "a", queued=1.0))
    assert backlog.take(1.0) is None
    backlog.remove(item)
    assert take_keys(backlog, 1.0) == ["a"]
    backlog.remove(item)
    assert len(backlog) == 0


def test_one_that_is_claimed_is_not_taken_and_the_other_way_round() -> None:
    backlog = make("a")
    claimed = backlog.claim("a")
    assert claimed is not None
    assert backlog.claim("a") is None
    assert backlog.take(0.0) is None
    backlog.put_back(claimed, 3.0)
    assert take_keys(backlog, 3.0) == ["a"]
    assert backlog.claim("a") is None
    assert backlog.claim("unknown") is None


def test_one_that_waits_can_be_hastened() -> None:
    backlog = make("a")
    item = backlog.take(0.0)
    assert item is not None
    backlog.put_back(item, 1000.0)
    backlog.hasten("a", 2.0)
    backlog.hasten("unknown", 2.0)
    assert take_keys(backlog, 2.0) == ["a"]
    backlog.remove(item)
    assert take_keys(backlog, 1000.0) == []


def test_what_finds_no_room_is_known_to_be_missing() -> None:
    backlog = make("a", "b", "c", max_length=2)
    assert len(backlog) == 2
    assert backlog.overflowed


def test_it_says_how_much_there_is_and_how_old_it_is() -> None:
    backlog = make("a")
    backlog.add(Item("lifecycle", "b", queued=4.0))
    assert (backlog.count("result"), backlog.count("lifecycle"), backlog.oldest_s(10.0)) == (1, 1, 10.0)
    assert make().oldest_s(10.0) == 0


def test_ten_thousand_are_a_few_megabytes() -> None:
    tracemalloc.start()
    try:
        backlog: Backlog[ResultItem] = Backlog()
        for number in range(10_000):
            backlog.add(
                ResultItem(
                    kind="result",
                    key=f"3f0b7c1e-0000-4000-8000-{number:012d}",
                    queued=float(number),
                    namespace=f"tenant-{number % 100}",
                    name=f"execution-with-a-long-name-{number}",
                    execution_id=f"exec_20260115_{number:08d}",
                    pod=f"executor-default-5d4f8c7b9-{number % 50}",
                )
            )
        assert tracemalloc.get_traced_memory()[0] < 12e6
    finally:
        tracemalloc.stop()
