"""A log record of anything: one line of strict ASCII JSON, without a token in any form of it."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from executor_runtime.logs import configure_logs
from executor_runtime.secret import REDACTED, Redactor
from tests.unit.fuzz.profile import fuzzed
from tests.unit.fuzz.strategies import short_text, wild_numbers

tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=12, max_size=40)
PREFIX, SUFFIX = "2026-part-of-a-token-", "-part-of-another"
around = short_text.filter(lambda text: PREFIX not in text and SUFFIX not in text)  # hypothesis knows our constants


class Odd:
    """Something of a library's, whose ``repr`` quotes what it holds."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __repr__(self) -> str:
        return f"<Odd {self.held!r}>"


def holding(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = leaves.filter(lambda key: isinstance(key, str)) | st.integers() | st.just("password")
    return st.recursive(
        leaves | wild_numbers.filter(lambda number: abs(number) < 10**300 or number != number) | st.none(),
        lambda parts: st.one_of(
            st.lists(parts, max_size=3),
            st.tuples(parts, parts),
            st.dictionaries(keys, parts, max_size=3),
            parts.map(Odd),
            parts.map(lambda part: ValueError("broken", part)),
        ),
        max_leaves=8,
    )


@st.composite
def records(draw: st.DrawFn) -> tuple[list[str], dict[str, Any]]:
    """(tokens, fields of a record that has them in many places)."""
    secrets = draw(st.lists(tokens, min_size=1, max_size=3, unique=True))
    secrets += [secrets[0] + SUFFIX, PREFIX + secrets[0]]  # as a rotation by hand might choose them
    text = st.builds("{}{}{}".format, around, st.sampled_from(secrets), around)
    leaves = around | text | text.map(lambda value: value.encode("utf-8", "replace")) | st.sampled_from(secrets)
    names = st.text(st.characters(categories=["Ll"]), min_size=1, max_size=8).map(lambda name: f"f_{name}")
    return secrets, draw(st.dictionaries(names, holding(leaves), max_size=4))


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    yield
    structlog.reset_defaults()


@fuzzed
@given(records(), around)
def test_any_record_is_one_line_of_json_without_a_token(
    given_record: tuple[list[str], dict[str, Any]], event: str
) -> None:
    secrets, fields = given_record
    stream, redactor = io.StringIO(), Redactor()
    for secret in secrets:
        redactor.hide(secret)
    configure_logs("DEBUG", "fuzz", redactor, stream)
    structlog.get_logger().info(f"{event}{secrets[0]}", **fields)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.isascii()
    assert line[:-1].isprintable()
    found = list(strings_in(json.loads(line, parse_constant=pytest.fail)))
    for secret in secrets:
        for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], repr(secret.encode())[2:-1]):
            assert not [text for text in found if form in text]
    assert not [text for text in found if SUFFIX in text or PREFIX in text]


def strings_in(value: Any) -> Iterator[str]:
    """Keys and values, as a reader of the log has them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


@fuzzed
@given(tokens, around, around)
def test_what_is_no_token_stays(token: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.hide(token)
    whole = f"{before}{token}{after}"
    if whole.find(token) != len(before) or token in whole[len(before) + 1 :] or "\\" in before + after:
        return  # it stands elsewhere too, or what stands beside it may belong to it
    assert redactor.redact(f"{before}{token}{after}") == f"{before}{REDACTED}{after}"
    redactor.forget(token)
    assert redactor.redact(f"{before}{token}{after}") == f"{before}{token}{after}"
