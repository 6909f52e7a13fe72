"""The standard library of each language works under the filter, but for what ``docs/executor.md`` lists."""

from pathlib import Path

import pytest

from tests.security.conftest import Driver
from tests.security.library import javascript, missing, python, shell
from tests.security.library.missing import Missing

pytestmark = pytest.mark.sandbox

PAGE = Path(__file__).parents[2] / "docs" / "executor.md"
HEADING = "### What does not work inside"


@pytest.mark.parametrize("what", python.WORKS)
def test_python(driver: Driver, what: str) -> None:
    run = driver.run(python.WORKS[what])
    assert run.result["return_value"] is True, (run.result["reason"], run.result["return_value"], run.stderr)


@pytest.mark.parametrize("what", javascript.WORKS)
def test_javascript(driver: Driver, what: str) -> None:
    run = driver.run(javascript.DONE + javascript.WORKS[what], language="javascript")
    assert (run.exit_code, run.stdout, run.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("what", shell.WORKS)
def test_shell(driver: Driver, what: str) -> None:
    run = driver.run(shell.WORKS[what], language="shell")
    assert run.exit_code == 0, run.stdout + run.stderr


@pytest.mark.parametrize("row", missing.MISSING, ids=lambda row: f"{row.language}-{row.row}")
def test_what_does_not_work(driver: Driver, full: Driver, row: Missing) -> None:
    run = driver.run(row.code, language=row.language)
    level = "full" if driver is full else "reduced"
    shown = row.says in run.stdout + run.stderr
    assert shown is (level not in row.works_at), run.stdout + run.stderr
    assert run.ending == "exited"


def test_the_page_lists_what_does_not_work_and_nothing_else() -> None:
    _, _, rest = PAGE.read_text().partition(f"{HEADING}\n")
    table = [line for line in rest.partition("\n#")[0].splitlines() if line.startswith("| ")]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table[2:]]
    assert sorted(rows) == sorted({row.row for row in missing.MISSING})
