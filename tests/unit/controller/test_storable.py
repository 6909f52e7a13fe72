"""What is cut of a status, and what a number may be."""

from typing import Any

import pytest

from contracts.execution import ExecutionError, ExecutionStatus, StatusArtifact
from controller.conditions import make_condition
from controller.storable import MAX_CUTS, can_store, cut
from tests.unit.controller.builders import NOW

STATUS = ExecutionStatus(
    phase="Failed",
    stdout="é" * 20_000,
    stderr="short",
    return_value={"a": 1},
    progress={"a": 1},
    artifacts=[StatusArtifact(path=str(number), size=1) for number in range(100)],
    artifacts_total=100,
    error=ExecutionError(error_code="Executor.X", description="d" * 1000, solution=None),
    conditions=[make_condition("Finished", "True", "NonZeroExit", "m" * 1000, NOW)],
)


def test_nothing_is_cut_at_first() -> None:
    assert cut(STATUS, 0) is STATUS


def test_streams_keep_their_end_in_whole_characters_then_nothing() -> None:
    once, twice = cut(STATUS, 1), cut(STATUS, MAX_CUTS)
    assert (once.stdout, once.stdout_truncated) == ("é" * 4096, True)
    assert (once.stderr, once.stderr_truncated) == ("short", None)
    assert (twice.stdout, twice.stderr, twice.stderr_truncated) == ("", "", True)


def test_what_is_left_out_is_flagged_and_counted() -> None:
    once, twice = cut(STATUS, 1), cut(STATUS, MAX_CUTS)
    assert (once.return_value, once.return_value_truncated) == (None, True)
    assert len(once.artifacts or ()) == 20
    assert (twice.artifacts, twice.artifacts_total, twice.progress) == (None, 100, None)
    assert cut(ExecutionStatus(phase="Failed"), 1) == ExecutionStatus(phase="Failed")
    tails = ExecutionStatus(phase="Running", stdout_tail="o", stderr_tail="e")
    assert cut(tails, 1) == ExecutionStatus(phase="Running")


def test_words_are_shortened_last() -> None:
    once, twice = cut(STATUS, 1), cut(STATUS, MAX_CUTS)
    assert once.error == STATUS.error
    assert twice.error == ExecutionError(error_code="Executor.X", description="d" * 256)
    assert [len(condition.message) for condition in twice.conditions or ()] == [256]
    assert len(str(twice.to_kube())) < 1000


@pytest.mark.parametrize(
    ("value", "storable"),
    [
        (None, True),
        ({"a": [1, -0.5, "1e999", True, 10**308]}, True),
        ([[float("nan")]], False),
        ({"a": {"b": float("-inf")}}, False),
        ([10**309], False),
    ],
)
def test_numbers_beyond_a_double_cannot_be_stored(value: Any, storable: bool) -> None:
    assert can_store(value) is storable
