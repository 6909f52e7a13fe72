"""Nothing gets out, nobody gets in: every named attempt fails, and is shown to succeed without its protection.

The attempts are in ``attempts/``, one module an area; ``attempts.stage`` is where they are made. What is asserted is
what happened to the world outside the sandbox, never what the attacker's code says of itself.
"""

import os
from collections.abc import Iterator, Sequence

import pytest

from contracts.executor_api import LANGUAGES
from tests.security.attempts import catalogue
from tests.security.attempts.honest import in_turn
from tests.security.attempts.lanes import Lanes, Task
from tests.security.attempts.model import BOTH
from tests.security.attempts.weakened import PROTECTIONS

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1800)]  # the first one of a lane may have to wait for it

FOUND = [(module, attempt) for module, attempts in catalogue.load_all().items() for attempt in attempts]
MADE = [
    Task(level, module, attempt.name, beside)
    for level in BOTH
    for (module, attempt), beside in zip(FOUND, in_turn(), strict=False)
    if level in attempt.levels
]
PROVED = sorted(
    (
        Task(attempt.levels[0], module, attempt.name, None, attempt.without)
        for module, attempt in FOUND
        if attempt.without
    ),
    # In an order in which stages, and on them executors, serve as many as they can.
    key=lambda task: (task.as_root, task.level, sorted(task.without)),
)


@pytest.fixture(scope="module")
def lanes(request: pytest.FixtureRequest) -> Iterator[Lanes]:
    """What tests were selected, in three lanes: each level, and the proofs."""
    callspecs = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    chosen = {callspec.params["task"] for callspec in callspecs if isinstance(callspec.params.get("task"), Task)}
    full, reduced = ([task for task in MADE if task.level == level and task in chosen] for level in BOTH)
    proofs = [task for task in PROVED if task in chosen]
    made = Lanes({"full": full, "reduced": _from_the_middle(reduced), "proofs": proofs})
    yield made
    made.close()


def _from_the_middle(tasks: Sequence[Task]) -> list[Task]:
    """So that the two levels are not at the same bomb at the same moment."""
    middle = len(tasks) // 2
    return [*tasks[middle:], *tasks[:middle]]


@pytest.mark.parametrize("task", [pytest.param(task, id=f"{task.name}-{task.level}") for task in MADE])
def test_the_attempt_fails_and_an_honest_execution_beside_it_does_not(lanes: Lanes, task: Task) -> None:
    """Of what is only too late, the best of up to three tries counts (``lanes``)."""
    seen = lanes.wait_for(task)
    assert not seen.effect, seen.shown
    assert not seen.honest
    assert not seen.slow
    assert not seen.harm


@pytest.mark.parametrize(
    "task",
    # What only the machine's root can do is shown to be possible where the tests are root, as in CI.
    [
        pytest.param(task, id=f"{task.name}-without-{'-'.join(task.without)}")
        for task in PROVED
        if os.geteuid() == 0 or not task.as_root
    ],
)
def test_without_its_protection_the_attempt_succeeds(lanes: Lanes, task: Task) -> None:
    """In one of up to three tries (``lanes``): that it can."""
    seen = lanes.wait_for(task)
    assert seen.effect, seen.shown


def test_there_are_enough_attempts_in_every_language() -> None:
    names = [attempt.name for _, attempt in FOUND]
    assert len(names) == len(set(names))
    assert len(names) >= 80
    assert {attempt.language for _, attempt in FOUND} == set(LANGUAGES)


def test_each_attempt_is_proved_or_says_why_not() -> None:
    for _, attempt in FOUND:
        assert bool(attempt.without) != bool(attempt.unproved), attempt.name
        assert set(attempt.without) <= set(PROTECTIONS), attempt.name
