import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor_runtime.logs import configure_logs
from executor_runtime.secret import Redactor


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    handlers, level = logging.root.handlers[:], logging.root.level
    written = io.StringIO()
    redactor = Redactor()
    redactor.hide("s3cret-token")
    configure_logs("INFO", "container-1", redactor, written)
    yield written
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def records(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]


def test_a_record_has_the_seeds_fields(stream: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="r1", execution_id="exec_20260115_a1b2c3d4")
    structlog.get_logger().info("execution_started", language="python")
    (record,) = records(stream)
    assert record.pop("timestamp")
    assert record == {
        "level": "info",
        "event_type": "execution_started",
        "container_id": "container-1",
        "request_id": "r1",
        "execution_id": "exec_20260115_a1b2c3d4",
        "language": "python",
    }


@pytest.mark.parametrize(
    "text", ["a\nb", "\r\n", "\x1b[31mred", "\0", "\u2028\u2029\x85", "\ud800", '"}\n{"level":"critical"', "é"]
)
def test_one_record_is_one_line_of_ascii_whatever_it_holds(stream: io.StringIO, text: str) -> None:
    structlog.get_logger().info("something", text=text, **{text: 1})
    written = stream.getvalue()
    assert written.endswith("\n")
    assert len(written.splitlines()) == 1
    assert written.isascii()
    assert all(character >= " " for character in written[:-1])
    assert records(stream)[0]["text"] == text


def test_tokens_are_redacted_also_in_tracebacks_and_keys(stream: io.StringIO) -> None:
    try:
        raise ValueError("called with s3cret-token")
    except ValueError:
        structlog.get_logger().exception("broke", url="http://x/?t=s3cret-token", authorization="Bearer abc")
    (record,) = records(stream)
    assert "s3cret" not in stream.getvalue()
    assert "Bearer" not in stream.getvalue()
    assert "ValueError" in str(record["exception"])


def test_records_of_libraries_have_the_same_form(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("line 1\nline 2 %s", "s3cret-token")
    (record,) = records(stream)
    assert (record["event_type"], record["level"], record["logger"]) == ("library_message", "warning", "some.library")
    assert record["message"] == "line 1\nline 2 [redacted]"


def test_records_below_the_level_are_not_written(stream: io.StringIO) -> None:
    structlog.get_logger().debug("quiet")
    logging.getLogger("aiohttp").info("POST …")
    assert stream.getvalue() == ""


def test_a_broken_stream_breaks_nothing(stream: io.StringIO) -> None:
    stream.close()
    structlog.get_logger().info("into the void")


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
texts = st.lists(st.sampled_from(NASTY) | st.text(max_size=8), max_size=4).map("".join)
values = st.recursive(
    st.none() | st.integers() | st.floats() | texts | st.binary(max_size=8) | st.builds(ValueError, texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.binary(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=texts, value=values)
def test_any_record_is_one_line_of_strict_json(stream: io.StringIO, event: str, value: object) -> None:
    stream.seek(0)
    stream.truncate()
    structlog.get_logger().warning(event, value=value, **{f"field {event}": value})
    logging.getLogger("a.library").warning("%s", event)
    lines = stream.getvalue().split("\n")
    assert lines.pop() == ""
    assert len(lines) == 2, "one line a record"
    for line in lines:
        assert all(" " <= character <= "~" for character in line)
        assert json.loads(line, parse_constant=refuse)["level"] == "warning"
    assert json.loads(lines[0])["event_type"] == event
    assert json.loads(lines[1])["message"] == event
