"""Untrusted text on a terminal, and tables."""

from datetime import UTC, datetime

import pytest

from sandbox_executor_client import Execution, Pool
from sandbox_run import tables
from sandbox_run.describe import describe_execution
from sandbox_run.text import for_terminal, one_line, plain

NOW = datetime(2026, 1, 15, 12, 0, 0, tzinfo=UTC)


def test_output_on_a_terminal_keeps_colours_lines_and_tabs_and_nothing_else() -> None:
    assert for_terminal("\x1b[1;32mgreen\x1b[0m\ta\r\nb\n") == "\x1b[1;32mgreen\x1b[0m\ta\nb\n"
    assert for_terminal("\x1b]0;title\x07\x1b[2J\x1b[H\x9b1A\b\r") == (
        "\\x1b]0;title\\x07\\x1b[2J\\x1b[H\\x9b1A\\x08\\x0d"
    )
    assert for_terminal("a\u202eb") == "a\\u202eb"


def test_cells_and_paragraphs_keep_not_even_colours() -> None:
    assert one_line("a\nb\t\x1b[31mc") == "a b \\x1b[31mc"
    assert plain("a\n\tb\x1b[31m") == "a\n    b\\x1b[31m"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (86_400 * 400, "400d")]
)
def test_ages(seconds: float, text: str) -> None:
    assert tables.format_age(seconds) == text


def test_rows_say_what_kubectl_says() -> None:
    new = Execution({"metadata": {"name": "new", "creationTimestamp": "2026-01-15T11:59:55Z"}, "spec": {"pool": "p"}})
    assert tables.execution_row(new, NOW) == ("new", "Pending", "", "p", "", "", "5s")
    status = {
        "phase": "Failed",
        "conditions": [{"type": "Finished", "reason": "NonZeroExit"}],
        "exitCode": 3,
        "duration": "1.00s",
    }
    old = Execution({**new.raw, "status": status})
    assert tables.execution_row(old, NOW) == ("new", "Failed", "NonZeroExit", "p", "3", "1.00s", "5s")
    pool = Pool({"metadata": {"name": "p"}, "spec": {"replicas": 2}})
    assert tables.pool_row(pool) == ("p", "0", "2", "0", "0", "0", "", "")


def test_columns_in_a_pipe_are_as_wide_as_they_must_be(capsys: pytest.CaptureFixture[str]) -> None:
    tables.write_rows(("NAME", "X"), [("a", "\x1b[2J"), ("longer", "")])
    assert capsys.readouterr().out == "NAME     X\na        \\x1b[2J\nlonger\n"
    tables.write_rows(("NAME", "X"), [("a\tb", "c")], raw=True)
    assert capsys.readouterr().out == "a b\tc\n"


def test_what_was_used_keeps_one_decimal_also_of_whole_numbers() -> None:
    status = {"phase": "Succeeded", "metrics": {"durationMs": 82.277, "cpuTimeMs": 20, "peakMemoryMB": 10}}
    described = describe_execution(Execution({"metadata": {"name": "x"}, "spec": {}, "status": status}))
    assert "Used:         82.3 ms of time, 20.0 ms of CPU, 10.0 MiB of memory at most\n" in described
