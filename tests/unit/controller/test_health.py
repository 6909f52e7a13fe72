"""What the probes are told."""

import pytest

from controller.health import Health
from controller.metrics import Metrics


class Clock:
    """Seconds that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(Metrics(), clock)


def test_a_loop_that_does_not_turn_is_stuck(health: Health, clock: Clock) -> None:
    clock.now = 14.9
    assert health.live
    clock.now = 15.0
    assert health.problem == "stuck: the event loop does not turn"


@pytest.mark.parametrize(
    ("missed", "live"),
    [([0, 0, 0, 0], True), ([3, 1], True), ([1, 1, 1], False), ([1, 1, 0, 1, 1], True), ([1, 1, 1, 0], True)],
)
def test_a_watch_that_stays_deaf_for_three_lists_is_stuck(health: Health, missed: list[int], live: bool) -> None:
    for number in missed:
        health.note_resync(number)
    assert health.live is live


@pytest.mark.parametrize(
    ("listening", "connected", "ready"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_standby_is_ready_once_it_listens_and_the_api_server_has_answered(
    health: Health, listening: bool, connected: bool, ready: bool
) -> None:
    health.listening, health.connected = (lambda: listening), connected
    assert health.ready is ready
