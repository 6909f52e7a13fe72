"""What a person writes on a command line, and what they are told when it cannot be used."""

from pathlib import Path

import pytest

from sandbox_run.errors import InputError
from sandbox_run.source import find_language, parse_duration, parse_env, parse_event, read_files, read_text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600), ("1m30s", 90), ("0h1m", 60), (" 7s ", 7)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0.5s", "1.5", "-1", "30 s", "1d", "1s1m", "٣", "1e3"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError, match="write for example 30s, 5m or 1m30s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "61m", "1h1s", "9" * 30])
def test_durations_out_of_bounds(text: str) -> None:
    with pytest.raises(InputError, match="from 1s to 1h"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("path", "language"), [("a.py", "python"), ("x/A.PY", "python"), ("a.cjs", "javascript"), ("a.b.sh", "shell")]
)
def test_a_suffix_says_the_language(path: str, language: str) -> None:
    assert find_language(path, None) == language


def test_the_language_that_is_given_counts_more() -> None:
    assert find_language("a.py", "shell") == "shell"
    assert find_language("-", "shell") == "shell"


@pytest.mark.parametrize(("path", "says"), [("a.rb", "is none of .py"), ("a", "-l shell"), ("-", "has no suffix")])
def test_an_unknown_suffix(path: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        find_language(path, None)


def test_events(tmp_path: Path) -> None:
    assert parse_event('{"a": [1, null]}') == {"a": [1, None]}
    assert parse_event("null") is None
    path = tmp_path / "event.json"
    path.write_text("[1]")
    assert parse_event(f"@{path}") == [1]


@pytest.mark.parametrize("text", ["{bad", "", "NaN", "{'a': 1}", "[" * 100_000])
def test_what_is_no_event(text: str) -> None:
    with pytest.raises(InputError, match="--event is"):
        parse_event(text)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        parse_event("@/nonexistent/event.json")


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "x=y")
    assert parse_env(["A=", "B=b=c", "FROM_HERE"]) == {"A": "", "B": "b=c", "FROM_HERE": "x=y"}
    for word in ("=x", "1A=x", "A-B=x", ""):
        with pytest.raises(InputError, match="NAME=VALUE"):
            parse_env([word])
    with pytest.raises(InputError, match="is not set here: write NOT_HERE=VALUE"):
        parse_env(["NOT_HERE"])


def test_files_that_cannot_be_code(tmp_path: Path) -> None:
    binary, large = tmp_path / "binary", tmp_path / "large"
    binary.write_bytes(b"ab\xff")
    large.write_bytes(b"x" * 11)
    assert read_text(str(large), "the program", 11) == "x" * 11
    for path, says in (
        (binary, "byte 2 is 0xff"),
        (large, "larger than 10 bytes"),
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(InputError, match=says):
            read_text(str(path), "the program", 10)
    with pytest.raises(InputError, match="cannot be read"):
        read_text("a\0b", "the program", 10)


def test_files_for_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(b"\xff1")
    (tmp_path / "b=c").write_bytes(b"2")
    found = read_files(["in/a.csv", "copy/x=in/a.csv", f"y={tmp_path}/b=c", "z=in/../in/a.csv"])
    assert found == {"in/a.csv": b"\xff1", "copy/x": b"\xff1", "y": b"2", "z": b"\xff1"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["/etc/passwd"], "relative to the workspace: no leading or trailing /.*; write --file data/input.csv=SOURCE"),
        (["../x"], r"no \. or \.\."),
        (["=x"], "relative to the workspace"),
        ([".progress.json=x"], "where the code writes its progress"),
        (["\udcff=x"], "half surrogate"),
        (["x=/dev/null", "x=/dev/null"], "'x' stands twice"),
        (["nothing"], "the file 'nothing' cannot be read: No such file"),
        (["x=/tmp"], "the file '/tmp' cannot be read: Is a directory"),
        (["x=/dev/zero"], "the file '/dev/zero' is larger than 1048576 bytes"),
    ],
)
def test_files_that_the_workspace_cannot_have(words: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_files(words)
