"""Versions of what a machine has."""

from pathlib import Path

import pytest

from devcluster import gotoolchain, tools


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("kind v0.33.0 go1.26.8 linux/amd64", (0, 33)),
        ("Client Version: v1.34.4\nKustomize Version: v5.7.1", (1, 34)),
        ("v3.22.0+g1234567", (3, 22)),
        ("no version", None),
    ],
)
def test_the_version_of_a_tool_is_read_from_what_it_prints(text: str, version: tuple[int, int] | None) -> None:
    assert tools.version_of(text) == version


@pytest.mark.parametrize(
    ("text", "version"),
    [("go version go1.26.8 linux/amd64", (1, 26, 8)), ("go version go1.26", (1, 26, 0)), ("", None)],
)
def test_the_version_of_go_too(text: str, version: tuple[int, int, int] | None) -> None:
    assert gotoolchain.version_of(text) == version


def test_a_placed_tool_outlives_the_cache_entry_it_came_from(tmp_path: Path) -> None:
    source, target = tmp_path / "kind", tmp_path / "bin-kind"
    source.write_text("new")
    target.write_text("old")
    tools.place(source, target)
    source.unlink()
    assert target.read_text() == "new"
