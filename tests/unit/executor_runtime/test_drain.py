"""The preStop hook."""

import pytest

from executor_runtime.drain import SETTLED_S, main, wait_until_idle


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def wait(busy_until: list[tuple[float, float]], limit_s: float) -> tuple[bool, float]:
    """(the answer, when it came) of an executor that is busy in these spans of time."""
    clock = Clock()

    def active() -> int:
        return sum(begin <= clock.now_s < end for begin, end in busy_until)

    return wait_until_idle(active, limit_s, clock.now, clock.sleep), clock.now_s


def test_an_idle_executor_is_waited_for_only_until_it_has_settled() -> None:
    idle, at = wait([], 30)
    assert idle
    assert SETTLED_S <= at < SETTLED_S + 0.5


def test_a_run_is_waited_for_to_its_end() -> None:
    idle, at = wait([(0, 12)], 30)
    assert idle
    assert 12 + SETTLED_S <= at < 14


def test_a_dispatch_that_was_under_way_counts() -> None:
    idle, at = wait([(0.5, 5)], 30)
    assert idle
    assert at >= 5 + SETTLED_S


def test_a_run_that_is_too_long_is_given_up_in_time() -> None:
    idle, at = wait([(0, 100)], 30)
    assert not idle
    assert 30 <= at < 31


@pytest.mark.parametrize("arguments", [[], ["soon"], ["1", "2"]])
def test_wrong_usage_is_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage:" in capsys.readouterr().err
