"""Which job may run in a sandbox that was started before there was one, and how many of those are kept."""

import time
from typing import Any

import pytest

from executor_runtime.sandbox import warm
from executor_runtime.sandbox.model import Limits
from executor_runtime.sandbox.shape import Shape

MIB = 1 << 20
USUAL = Shape.with_program("javascript", Limits(), {})


def test_any_job_fits_one_without_a_program_but_for_the_size_of_tmp() -> None:
    shape = Shape.without_program(Limits())
    assert shape == Shape.without_program(Limits(memory_bytes=MIB, cpu_seconds=1, open_files=9))
    assert shape != Shape.without_program(Limits(tmp_bytes=MIB))


@pytest.mark.parametrize("language", ["python", "shell"])
def test_for_other_languages_there_is_no_program(language: Any) -> None:
    assert Shape.with_program(language, Limits(), {}) is None


@pytest.mark.parametrize("name", ["NODE_OPTIONS", "TZ", "LANG", "PATH", "OWN"])
def test_a_variable_rules_a_program_out(name: str) -> None:
    assert Shape.with_program("javascript", Limits(), {name: ""}) is None


@pytest.mark.parametrize(
    "limit", ["memory_bytes", "cpu_seconds", "processes", "open_files", "file_size_bytes", "tmp_bytes"]
)
def test_a_limit_that_the_program_has_already_rules_it_out(limit: str) -> None:
    assert Shape.with_program("javascript", Limits(**{limit: 77}), {}) != USUAL


@pytest.mark.parametrize("limit", ["workspace_bytes", "workspace_entries"])
def test_a_limit_that_is_watched_does_not(limit: str) -> None:
    assert Shape.with_program("javascript", Limits(**{limit: 77}), {}) == USUAL


def test_programs_are_wanted_for_a_while_after_somebody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert USUAL is not None
    shelf = warm.Shelf(USUAL, 2)
    assert shelf.wanted == 0
    shelf.ask()
    assert shelf.wanted == 2
    now += warm.WANTED_S - 1
    assert shelf.wanted == 2
    now += 2
    assert shelf.wanted == 0


def test_those_for_any_job_are_always_wanted() -> None:
    assert warm.Shelf(Shape.without_program(Limits()), 3).wanted == 3
