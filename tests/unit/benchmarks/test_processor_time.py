"""Whose processor time it was."""

import pytest

from benchmarks.processor_time import REST, Look


def test_what_came_and_went_is_the_rest_of_what_the_kernel_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda: 2)
    before = Look(10.0, {(1, 0.5): ("etcd", 1.0), (2, 0.5): ("executors", 4.0), (3, 0.5): ("others", 9.0)}, 100.0)
    after = Look(20.0, {(1, 0.5): ("etcd", 1.5), (2, 9.9): ("executors", 2.0), (4, 1.0): ("executors", 1.0)}, 112.0)
    spent, idle_s = before.until(after)
    assert list(spent) == [REST, "executors", "etcd"]
    assert spent == {"etcd": 0.5, "executors": 3.0, REST: 8.5}
    assert idle_s == 8.0


def test_this_process_is_found_with_the_time_that_it_took() -> None:
    before = Look.now()
    assert sum(number * number for number in range(3_000_000))
    spent, _ = before.until(Look.now())
    assert sum(spent.values()) > 0
