"""Builds are whole or not there, and found again by all that went into them."""

import os
from pathlib import Path

import pytest

from devcluster.cache import Cache, digest


def _writer(text: str):  # type: ignore[no-untyped-def]
    return lambda out: (out / "result").write_text(text)


def test_the_same_parts_give_the_same_key_in_any_order_of_a_mapping() -> None:
    assert digest("1.34.4", {"a": 1, "b": 2}) == digest("1.34.4", {"b": 2, "a": 1})


@pytest.mark.parametrize("other", [("1.34.5", ["x"]), ("1.34.4", ["y"]), ("1.34.4", ["x"], "more")])
def test_any_other_part_gives_another_key(other: tuple[object, ...]) -> None:
    assert digest(*other) != digest("1.34.4", ["x"])


def test_what_was_built_is_not_built_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.get("kind", "k1", _writer("first"))
    assert (cache.get("kind", "k1", _writer("second")) / "result").read_text() == "first"


def test_a_build_that_fails_leaves_nothing_that_could_be_taken_for_a_result(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def half(out: Path) -> None:
        (out / "result").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        cache.get("kind", "k1", half)
    assert not cache.entry("kind", "k1").exists()
    assert (cache.get("kind", "k1", _writer("whole")) / "result").read_text() == "whole"


def test_a_build_starts_in_an_empty_folder_whatever_a_killed_one_left(tmp_path: Path) -> None:
    left = tmp_path / "tmp" / "kind"
    left.mkdir(parents=True)
    (left / "stale").touch()
    assert not (Cache(tmp_path).get("kind", "k1", _writer("x")) / "stale").exists()


def test_the_entry_used_last_and_the_new_one_are_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for age, key in ((300, "oldest"), (200, "used"), (250, "old")):
        entry = cache.entry("kind", key)
        entry.mkdir(parents=True)
        os.utime(entry, (1_000_000 - age, 1_000_000 - age))
    cache.get("kind", "new", _writer("x"))
    assert sorted(path.name for path in (tmp_path / "kind").iterdir()) == ["new", "used"]


def test_what_is_large_can_be_kept_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for key in ("old", "new"):
        cache.get("kind", key, _writer("x"), kept=1)
    assert [path.name for path in (tmp_path / "kind").iterdir()] == ["new"]
