"""``docs/reasons.md`` explains every reason that the code can give, and none that it cannot."""

import re
from typing import Final, get_args

import pytest

from contracts.control_plane_api import CrashReason, ExitReason, UnrunReason
from contracts.control_plane_retry import Outcome
from contracts.errors import ErrorCode
from contracts.executor_api import Reason
from contracts.outputs import MissingReason
from controller import pool_status, reported, status
from controller.termination import LOST, TABLE
from tests.unit.docs.spoken import ROOT, find_spoken

PAGE: Final = (ROOT / "docs" / "reasons.md").read_text()
VARIABLES: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("controller.inputs", "f'{kind}NotFound'"): frozenset({"ConfigMapNotFound", "SecretNotFound"}),
    ("controller.inputs", "f'{kind}KeyNotFound'"): frozenset({"ConfigMapKeyNotFound", "SecretKeyNotFound"}),
    ("controller.inputs", "f'{kind}Forbidden'"): frozenset({"ConfigMapForbidden", "SecretForbidden"}),
    ("controller.pool_status", "pod.waiting_reason"): pool_status._PULL_REASONS | pool_status._CREATE_REASONS,
    ("controller.pool_status", "str(condition.get('reason', 'FailedCreate'))"): frozenset({"FailedCreate"}),
    ("controller.pool_status", "reason"): frozenset({"IsolationUnavailable", "ExecutorFailing", "OutOfMemory"}),
    ("controller.pipeline", "fact.reason"): frozenset({"PoolNotFound"}),
    # These pass on what another call in this list has, or what the types below have.
    ("controller.events", "reason"): frozenset(),
    ("controller.handover", "request.reason"): frozenset(),
    ("controller.pipeline", "verdict.reason"): frozenset(),
    ("controller.pipeline", "outcome.reason"): frozenset(),
    ("controller.pipeline", "reason"): frozenset(),
    ("controller.pool_keeper", "degraded.reason"): frozenset(),
    ("controller.pool_status", "trouble.reason"): frozenset(),
    ("controller.reported", "reason"): frozenset(),
    ("controller.status", "fact.reason"): frozenset(),
    ("controller.status", "reason"): frozenset(),
    # Of the condition OutputsStored: contracts.outputs has them.
    ("controller.status", "outputs.missing.reason"): frozenset(),
    ("sandbox_run.local", "verdict.reason"): frozenset(),
    # The reasons of an answer: Outcome and the constants of controller.reported.
    ("controller.relay.results", "reason"): frozenset(),
    # Another method of this name, which takes no reason.
    ("controller.relay.results", "execution"): frozenset(),
    ("controller.relay.results", "await self._write(execution, fact)"): frozenset(),
}
"""What a call with a variable for a reason can say: (module, expression) → words."""


def said_by(*calls: str, module: str = "") -> set[str]:
    """The reasons in calls of these functions."""
    found: set[str] = set()
    for spoken in find_spoken():
        here = spoken.where.rpartition(":")[0]
        if spoken.call in calls and here.startswith(module):
            found |= {spoken.words} if spoken.words else VARIABLES[here, spoken.source]
    return found


REPORTED: Final = (
    reported.SETTLED
    | {reported.PENDING, reported.WHOLE_PENDING}
    | {outcome.value.capitalize() for outcome in Outcome if not outcome.final}
)
SECTIONS: Final[dict[str, set[str]]] = {
    "How it ended": {*get_args(Reason), *get_args(CrashReason)},
    "Why it waits": (said_by("Waits") | said_by("make_condition", module="controller.status")) - {status.STORED},
    "Why it is Rejected": said_by("Rejected", "Refused", "Refusal"),
    "What is in the object store": {status.STORED, *get_args(MissingReason)},
    "What a Control Plane has heard": set(REPORTED),
    "Pools": said_by("Trouble", "make_condition", module="controller.pool_status"),
    "Events": said_by("note", "warn", "note_pool", "warn_pool", "tell"),
    "What a Control Plane hears besides": {*get_args(UnrunReason), *get_args(ExitReason)},
    "Errors of the executor's API": {code.value for code in ErrorCode},
}


def explained_in(section: str) -> list[str]:
    """The words of the first column of a section's table."""
    text = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert text is not None, f"docs/reasons.md has no section {section!r}"
    cells = [line.split("|")[1] for line in text[1].splitlines() if line.startswith("| `")]
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_explains_what_the_code_can_say_once_each(section: str) -> None:
    assert sorted(explained_in(section)) == sorted(SECTIONS[section])


def test_every_call_that_gives_a_variable_as_its_reason_is_known() -> None:
    variables = {(one.where.rpartition(":")[0], one.source) for one in find_spoken() if one.words is None}
    assert variables == VARIABLES.keys()


def test_the_relay_settles_on_no_other_reason_than_those_that_are_listed() -> None:
    assert said_by("settled", "failed", "Relayed", module="controller") <= REPORTED


def test_the_termination_table_has_no_other_reasons_than_those_that_are_listed() -> None:
    assert {row.crashed for row in TABLE} | {LOST.reason, "Evicted"} == set(get_args(CrashReason))


@pytest.mark.parametrize("code", list(ErrorCode))
def test_an_error_code_stands_beside_its_http_status(code: ErrorCode) -> None:
    assert f"| `{code.value}` | {code.http_status} |" in PAGE


@pytest.mark.parametrize("section", SECTIONS)
def test_no_cell_that_says_what_it_means_is_empty(section: str) -> None:
    text = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert text is not None
    head, _, *rows = [[cell.strip() for cell in line.split("|")] for line in text[1].splitlines() if line[:1] == "|"]
    meaning = next(number for number, cell in enumerate(head) if cell in ("what it means", "what it says"))
    assert [row for row in rows if not row[meaning]] == []
    assert {len(row) for row in rows} == {len(head)}
