"""What hostile or broken writers write: JSON of every kind, text of every kind, and valid things with damage."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

short_text = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="\0\n\r\t\x1b\x7f\u2028\u0085\ufffd\U0001f600\"'\\/{}[]:,", max_size=20),
    st.text(alphabet=st.characters(categories=["Cs", "Cc"]), max_size=4),
    st.sampled_from(["", " ", "0", "-1", "null", "true", "NaN", "../..", "/etc/passwd", "%s%n", "é" * 300]),
)
wild_text = short_text | st.sampled_from(["x" * 70_000, "\x01" * 70_000, "<" * 70_000])
"""Also half surrogate pairs, which have no UTF-8."""


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


plain_text = wild_text.map(_encodable)
"""What can stand in a file or on a wire."""

_EXTREMES = [0, -1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400]
wild_integers = st.integers() | st.sampled_from(_EXTREMES)
wild_floats = st.floats() | st.sampled_from([1e308, -0.0, 5e-324, float("nan"), float("inf"), 1e400])
wild_numbers = wild_integers | wild_floats


def json_values(text: st.SearchStrategy[str] = plain_text) -> st.SearchStrategy[Any]:
    """Whatever Python's own reader may give: NaN, infinities and huge integers too, and deep ones."""
    leaves = st.none() | st.booleans() | wild_numbers | text
    trees = st.recursive(leaves, lambda parts: st.lists(parts, max_size=4) | st.dictionaries(text, parts, max_size=4))
    return trees | st.builds(nested, st.sampled_from([1, 31, 33, 199, 201, 260, 3000]), trees)


def nested(levels: int, core: Any) -> Any:
    """The value in so many lists and objects."""
    for level in range(levels):
        core = [core] if level % 2 else {"a": core}
    return core


def written(value: Any) -> bytes:
    """As a lenient writer writes it; what is too deep for one is written by hand."""
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b"[" * 3000 + b"1" + b"]" * 3000


def damaged(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Valid bytes with a piece cut out, doubled, or replaced."""

    def damage(raw: bytes, ends: tuple[int, int], piece: bytes, how: int) -> bytes:
        low, high = sorted(end % (len(raw) + 1) for end in ends)
        return {0: raw[:low] + raw[high:], 1: raw[:high] + raw[low:], 2: raw[:low] + piece + raw[high:]}[how]

    ends = st.tuples(st.integers(0, 2**16), st.integers(0, 2**16))
    return st.builds(damage, valid, ends, st.binary(max_size=8), st.integers(0, 2))


Path = tuple[str | int, ...]


def paths_in(value: Any, above: Path = ()) -> list[Path]:
    """The way to each part of a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for name, part in pairs for path in ((*above, name), *paths_in(part, (*above, name)))]


def with_part(value: Any, path: Path, part: Any) -> Any:
    """The value with another part at the end of the path; as it is where the path leads nowhere."""
    if not path:
        return part
    step, *rest = path
    if isinstance(value, dict):
        return {**value, step: with_part(value.get(step), tuple(rest), part)}
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return [*value[:step], with_part(value[step], tuple(rest), part), *value[step + 1 :]]
    return value


def part_of(value: Any, path: Path) -> Any:
    """What is at the end of the path; None where there is nothing."""
    for step in path:
        value = value.get(step) if isinstance(value, dict) else value[int(step)]
    return value


def changed(valid: Mapping[str, Any], *, extra: tuple[str, ...] = ()) -> st.SearchStrategy[dict[str, Any]]:
    """A valid object of which some parts, at any level, are others, mostly of their own kind, or is gone."""
    whole = dict(valid)
    paths = st.sampled_from([*paths_in(whole), *((name,) for name in (*extra, "other"))])

    def another(path: Path) -> st.SearchStrategy[tuple[Path, Any]]:
        part = part_of(whole, path)
        own_kinds = {int: wild_integers, float: wild_floats, str: plain_text, bool: st.booleans()}
        own_kind = own_kinds.get(type(part), json_values())
        return st.tuples(st.just(path), mostly(own_kind, json_values()))

    def change(changes: list[tuple[Path, Any]], gone: str | None) -> dict[str, Any]:
        found = whole
        for path, part in changes:
            found = with_part(found, path, part)
        return {name: value for name, value in found.items() if name != gone}

    gone = st.sampled_from([*[None] * 3 * len(whole), *whole])
    return st.builds(change, st.lists(paths.flatmap(another), min_size=1, max_size=3), gone)


def bodies(valid: Mapping[str, Any], *, extra: tuple[str, ...] = ()) -> st.SearchStrategy[bytes]:
    """Bodies of requests and answers: nearly right, damaged, any JSON, any bytes."""
    nearly = changed(valid, extra=extra).map(written)
    rest = st.one_of(
        damaged(st.just(written(dict(valid)))), json_values(wild_text).map(written), st.binary(max_size=64)
    )
    return mostly(nearly, rest)


def mostly(often: st.SearchStrategy[Any], seldom: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The first in four cases of five; ``one_of`` takes each kind as often as another."""
    return st.integers(0, 4).flatmap(lambda number: often if number else seldom)


def outcome_of(call: Callable[[], Any], *documented: type[Exception]) -> Any:
    """What the call returns, or the documented exception that it raises; any other one fails the test."""
    try:
        return call()
    except documented as error:
        return error
