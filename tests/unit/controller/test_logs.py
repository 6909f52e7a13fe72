"""One record is one line of strict JSON, whatever hostile text the controller has to log."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from controller.logs import configure_logs, get_logger

NASTY = (
    "\n",
    "\r\n",
    "\x1b[2J\x1b[31m",
    "\0",
    "\x7f",
    "\x85",
    "\u2028",
    "\ud800",
    '"}\n{"level": "critical"}',
    "%s %d",
    "{}",
)
text = st.lists(st.sampled_from(NASTY) | st.text(max_size=8), max_size=4).map("".join)
values = st.recursive(
    st.none() | st.integers() | st.floats() | text | st.binary(max_size=8) | st.builds(ValueError, text),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text | st.binary(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@contextmanager
def captured() -> Iterator[io.StringIO]:
    """What the controller would write to standard output."""
    handlers, level, raising = logging.root.handlers[:], logging.root.level, logging.raiseExceptions
    stream = io.StringIO()
    configure_logs("INFO", stream)
    try:
        yield stream
    finally:
        structlog.reset_defaults()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        logging.raiseExceptions = raising


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def only_record(written: str) -> dict[str, Any]:
    assert written.endswith("\n")
    assert written.isascii()
    assert all(" " <= character <= "~" for character in written[:-1]), "nothing that moves a cursor or breaks a line"
    record: dict[str, Any] = json.loads(written, parse_constant=refuse)
    return record


@given(event=text, value=values)
def test_a_record_of_ours_is_one_line_of_json(event: str, value: object) -> None:
    with captured() as stream:
        get_logger("controller.x").warning(event, value=value, **{f"field {event}": value})
    record = only_record(stream.getvalue())
    assert record["event"] == event
    assert record["level"] == "warning"
    if isinstance(value, str):
        assert record["value"] == value


@given(message=text, error=text)
def test_so_is_a_librarys_record_and_a_traceback(message: str, error: str) -> None:
    with captured() as stream:
        try:
            raise RuntimeError(error)
        except RuntimeError:
            logging.getLogger("kopf.x").error("%s", message, exc_info=True)
    record = only_record(stream.getvalue())
    assert record["event"] == message
    assert "RuntimeError" in record["exception"]


@pytest.mark.parametrize("name", ["uvicorn.error", "kopf", "aiohttp.client"])
def test_a_library_can_forge_no_field(name: str) -> None:
    with captured() as stream:
        logging.getLogger(name).warning('x", "level": "critical', extra={"level": "critical"})
    assert only_record(stream.getvalue())["level"] == "warning"
