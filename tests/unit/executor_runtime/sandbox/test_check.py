"""Which interpreters an executor finds when it starts; it keeps to that for its life."""

from pathlib import Path

from executor_runtime.sandbox.check import find_interpreters


def make_program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_first_that_starts_is_taken_and_a_node_that_is_busy_for_seconds_has_it_too(tmp_path: Path) -> None:
    slow = make_program(tmp_path / "slow", "sleep 6")
    fails = make_program(tmp_path / "fails", "exit 1")
    wanted = {"python": [str(tmp_path / "missing"), fails, slow], "shell": [fails]}
    assert find_interpreters(wanted) == {"python": slow}
