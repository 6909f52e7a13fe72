"""What is sent is what is read, however the bytes are divided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.output_events import (
    KEEP_ALIVE,
    MAX_CHUNK_BYTES,
    MAX_EVENT_BYTES,
    Chunk,
    End,
    Ending,
    Event,
    EventError,
    EventReader,
    Gap,
    Pause,
    Position,
    encode,
)

AFTER = Position(7, 0)
ENDING = Ending(phase="Failed", reason="NonZeroExit", exit_code=3, attempt=2, stdout_bytes=7, stderr_bytes=0)
EVENTS: list[Event] = [
    Chunk("stdout", b"\x00\xff\n\n", AFTER),
    Chunk("stderr", b"", Position(7, 10**18 - 1)),
    Gap("stderr", 3, 9, AFTER),
    Pause(AFTER),
    End(ENDING, AFTER),
]


@given(cuts=st.lists(st.integers(0, 600), max_size=10))
def test_what_is_read_is_what_was_sent(cuts: list[int]) -> None:
    sent = KEEP_ALIVE + b"".join(encode(event) + KEEP_ALIVE for event in EVENTS)
    reader, places = EventReader(), [0, *sorted(cuts), len(sent)]
    found = [event for begin, end in zip(places, places[1:], strict=False) for event in reader.feed(sent[begin:end])]
    assert found == EVENTS


def test_the_words_are_the_contracts() -> None:
    assert encode(EVENTS[2]) == b'id: 7-0\nevent: gap\ndata: {"stream":"stderr","from":3,"to":9}\n\n'
    assert encode(Chunk("stdout", b"hi\n", AFTER)) == b"id: 7-0\nevent: stdout\ndata: aGkK\n\n"
    assert encode(EVENTS[4]) == (
        b'id: 7-0\nevent: end\ndata: {"phase":"Failed","reason":"NonZeroExit","exitCode":3,"attempt":2,'
        b'"stdoutBytes":7,"stderrBytes":0}\n\n'
    )
    assert KEEP_ALIVE == b": keep-alive\n\n"


def test_no_event_is_longer_than_a_reader_takes() -> None:
    longest = Chunk("stdout", bytes(MAX_CHUNK_BYTES), Position(10**18 - 1, 10**18 - 1))
    assert len(encode(longest)) < MAX_EVENT_BYTES
    with pytest.raises(EventError, match="longer than"):
        EventReader().feed(bytes(MAX_EVENT_BYTES + 1))


@pytest.mark.parametrize(
    "sent",
    [
        b"event: stdout\ndata: aGkK\n\n",
        b"id: 1-x\nevent: stdout\ndata: aGkK\n\n",
        b"id: 1-1\nevent: stdout\ndata: a*\n\n",
        b'id: 1-1\nevent: gap\ndata: {"stream":"else","from":0,"to":1}\n\n',
        b"id: 1-1\nevent: gap\ndata: []\n\n",
        b'id: 1-1\nevent: end\ndata: {"phase":"Dead"}\n\n',
    ],
)
def test_what_cannot_be_read_is_an_error(sent: bytes) -> None:
    with pytest.raises(EventError, match="cannot be read"):
        EventReader().feed(sent)


def test_an_event_of_a_later_version_is_left_out() -> None:
    assert EventReader().feed(b"id: 1-1\nevent: weather\ndata: rain\n\n" + encode(EVENTS[0])) == EVENTS[:1]
