"""What the probe finds on a node that gives less, made here by a sandbox around the whole executor."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.probing import open_place, probed

pytestmark = pytest.mark.sandbox

AS_IN_A_POD = ["bwrap", "--unshare-user", "--unshare-pid", "--dev-bind", "/", "/", "--proc", "/proc"]
MASKED_PROC = [*AS_IN_A_POD, "--tmpfs", "/proc/fs"]
"""The kernel mounts no new /proc where the one that can be seen is covered in part, as container runtimes do."""
NO_USER_NAMESPACES = [*AS_IN_A_POD, "--disable-userns"]


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place() as path:
        yield path


@pytest.mark.parametrize("mode", ["strict", "best-effort"])
def test_full_is_taken_where_it_works(place: Path, mode: str) -> None:
    assert probed(mode, [], place) == {"level": "full", "shortfall": "", "returned": 'returned\n"ran"'}


def test_strict_refuses_a_masked_proc_and_names_the_setting(place: Path) -> None:
    error = probed("strict", MASKED_PROC, place)["error"]
    assert error.startswith("isolation 'full' does not work here: bwrap: Can't mount proc")
    assert "procMount: Unmasked" in error
    assert "\n" not in error


def test_best_effort_takes_reduced_says_why_and_runs_code(place: Path) -> None:
    found = probed("best-effort", MASKED_PROC, place)
    assert (found["level"], found["returned"]) == ("reduced", 'returned\n"ran"')
    assert "procMount: Unmasked" in found["shortfall"]


@pytest.mark.parametrize("mode", ["strict", "best-effort"])
def test_nothing_is_taken_without_user_namespaces(place: Path, mode: str) -> None:
    error = probed(mode, NO_USER_NAMESPACES, place)["error"]
    assert "isolation 'full' does not work here: bwrap: " in error
    assert ("isolation 'reduced' does not work here: bwrap: " in error) is (mode == "best-effort")
    assert "user namespaces" in error
    assert "\n" not in error
