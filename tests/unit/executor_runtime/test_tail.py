"""The end of a stream, whatever its bytes are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from contracts.bounds import STATUS_PROGRESS_BYTES, STATUS_TAIL_BYTES
from contracts.control_plane_api import Heartbeat
from executor_runtime.progress import MAX_PROGRESS_BYTES
from executor_runtime.tail import decode_tail
from tests.unit.executor_runtime.fake_time import START


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        ("ä".encode(), "ä"),
        (b"\xa4!", "\ufffd!"),
        ("ä".encode() + b"x" * (STATUS_TAIL_BYTES - 2), "ä" + "x" * (STATUS_TAIL_BYTES - 2)),
        (b"\xa4" + b"x" * (STATUS_TAIL_BYTES - 1), "x" * (STATUS_TAIL_BYTES - 1)),
    ],
)
def test_it_begins_with_a_whole_character(raw: bytes, text: str) -> None:
    assert decode_tail(raw) == text


def test_a_heartbeat_with_the_longest_tails_is_as_short_as_the_controller_takes() -> None:
    longest = decode_tail(b"\x01" * STATUS_TAIL_BYTES)
    progress: dict[str, JsonValue] = {"p": "\x01" * (MAX_PROGRESS_BYTES // 6)}
    beat = Heartbeat(timestamp=START, progress=progress, stdout_tail=longest, stderr_tail=longest, between=True)
    assert 2 * 6 * STATUS_TAIL_BYTES < len(beat.model_dump_json()) < STATUS_PROGRESS_BYTES


@given(raw=st.binary(max_size=20), times=st.integers(1, 400))
def test_it_is_never_longer_than_a_status_takes(raw: bytes, times: int) -> None:
    assert len(decode_tail((raw * times)[-STATUS_TAIL_BYTES:]).encode()) <= STATUS_TAIL_BYTES
