"""The controller's side of a token rotation: which tokens it takes and shows, and for how long."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.bounds import TOKEN_OVERLAP_S
from controller.errors import SettingsError
from controller.settings import TokenFile

CHANGED_AT = 2_000.0


class Clock:
    """Time that stands still until it is set."""

    def __init__(self) -> None:
        self.now = CHANGED_AT

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


@pytest.fixture
def rotated(file: Path, clock: Clock) -> TokenFile:
    """Knows ``first`` from before and ``second`` from now."""
    token = TokenFile(file, clock)
    token.read()
    file.write_text("second\n")
    os.utime(file, (CHANGED_AT, CHANGED_AT))
    return token


def test_before_any_rotation_there_is_one_token(file: Path, clock: Clock) -> None:
    token = TokenFile(file, clock)
    assert token.read() == "first"
    assert token.read_previous() is None
    assert token.matches("first")
    assert not token.matches("")


def test_after_a_rotation_both_count_and_the_new_one_is_shown_first(rotated: TokenFile) -> None:
    assert rotated.read() == "second"
    assert rotated.read_previous() == "first"
    assert rotated.matches("second")
    assert rotated.matches("first")
    assert not rotated.matches("third")


@pytest.mark.parametrize("passed_s", [TOKEN_OVERLAP_S + 1, -TOKEN_OVERLAP_S - 1], ids=["later", "file-from-the-future"])
def test_the_old_one_ends(rotated: TokenFile, clock: Clock, passed_s: float) -> None:
    clock.now += passed_s
    assert rotated.matches("second")
    assert not rotated.matches("first")
    assert rotated.read_previous() is None


def test_a_file_that_is_written_again_with_the_same_token_forgets_nothing(rotated: TokenFile, file: Path) -> None:
    rotated.read()
    file.write_text("second\n")
    assert rotated.read_previous() == "first"


@pytest.mark.parametrize("ask", [TokenFile.read, TokenFile.read_previous], ids=["read", "read_previous"])
def test_an_empty_file_is_an_error_and_the_token_comes_back_with_it(
    rotated: TokenFile, file: Path, ask: Callable[[TokenFile], str | None]
) -> None:
    rotated.read()
    file.write_text("")
    with pytest.raises(SettingsError, match="is empty"):
        ask(rotated)
    file.write_text("second")
    assert rotated.matches("second")
