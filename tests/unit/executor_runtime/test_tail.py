"""The end of a stream, whatever its bytes are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.bounds import STATUS_TAIL_BYTES
from executor_runtime.tail import decode_tail


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


@given(raw=st.binary(max_size=20), times=st.integers(1, 400))
def test_it_is_never_longer_than_a_status_takes(raw: bytes, times: int) -> None:
    assert len(decode_tail((raw * times)[-STATUS_TAIL_BYTES:]).encode()) <= STATUS_TAIL_BYTES
