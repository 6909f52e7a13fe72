"""Nothing gets out, nobody gets in: every named attempt fails, and is shown to succeed without its protection.

The attempts are in ``attempts/``, one module an area; ``attempts.stage`` is where they are made. What is asserted is
what happened to the world outside the sandbox, never what the attacker's code says of itself.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from contracts.executor_api import LANGUAGES, IsolationLevel
from tests.security.attempts import catalogue
from tests.security.attempts.honest import in_turn
from tests.security.attempts.model import BOTH, Attempt
from tests.security.attempts.performance import Performance
from tests.security.attempts.stage import ROOT_ONLY, Stage
from tests.security.attempts.weakened import PROTECTIONS

pytestmark = pytest.mark.sandbox

FOUND = [(module, attempt) for module, attempts in catalogue.load_all().items() for attempt in attempts]
AT_EACH_LEVEL = [
    pytest.param(level, module, attempt, beside, id=f"{attempt.name}-{level}")
    for level in BOTH
    for (module, attempt), beside in zip(FOUND, in_turn(), strict=False)
    if level in attempt.levels
]
PROVED = [
    pytest.param(module, attempt, id=f"{attempt.name}-without-{'-'.join(attempt.without)}")
    # In an order in which stages, and on them executors, serve as many as they can.
    for module, attempt in sorted(
        FOUND, key=lambda found: (found[1].levels[0], ROOT_ONLY in found[1].without, sorted(found[1].without))
    )
    # What only the machine's root can do is shown to be possible where the tests are root, as in CI.
    if attempt.without and (ROOT_ONLY not in attempt.without or os.geteuid() == 0)
]


class Stages:
    """One stage at a time, reused as long as tests ask for the same kind."""

    def __init__(self) -> None:
        self._open: Stage | None = None

    def get(self, level: IsolationLevel, as_root: bool = False) -> Stage:
        """A stage of this kind."""
        if self._open is None or (self._open.level, self._open.as_root) != (level, as_root):
            self.close()
            self._open = Stage(level, as_root)
        return self._open

    def close(self) -> None:
        """Ends the one that is open; one that failed must not be used again."""
        if self._open is not None:
            self._open.close()
            self._open = None


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    """For all tests here."""
    made = Stages()
    yield made
    made.close()


def make(stages: Stages, stage: Stage, *what: Any) -> Performance:
    """Makes an attempt (``Stage.make``); after a failure or a timeout of the test, nobody uses the stage again."""
    try:
        return stage.make(*what)
    except BaseException:
        stages.close()
        raise


@pytest.mark.parametrize(("level", "module", "attempt", "beside"), AT_EACH_LEVEL)
def test_the_attempt_fails_and_an_honest_execution_beside_it_does_not(
    stages: Stages, level: IsolationLevel, module: str, attempt: Attempt, beside: str
) -> None:
    seen = make(stages, stages.get(level), module, attempt.name, beside)
    assert not seen.effect, seen.shown
    assert not seen.honest
    assert not seen.harm


@pytest.mark.parametrize(("module", "attempt"), PROVED)
def test_without_its_protection_the_attempt_succeeds(stages: Stages, module: str, attempt: Attempt) -> None:
    stage = stages.get(attempt.levels[0], ROOT_ONLY in attempt.without)
    seen = make(stages, stage, module, attempt.name, None, attempt.without)
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
