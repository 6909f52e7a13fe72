"""What a follower is given of two pipes, and when a pipe is not read on."""

import asyncio
import contextlib
import os
import select
from collections.abc import AsyncIterator
from typing import cast

import pytest

from contracts.output_events import MAX_CHUNK_BYTES, Chunk, Gap, Position
from executor_runtime.sandbox.descriptors import Descriptors
from executor_runtime.sandbox.drain import READ_AHEAD_BYTES, Drain
from executor_runtime.sandbox.output import RING_BYTES, TAIL_BYTES, Output, Reader
from executor_runtime.sandbox.start import Started

LIMIT = 1000
MIB = 1 << 20


class Pipes:
    """Stands for a started sandbox: two real pipes, and whether user code has begun."""

    def __init__(self) -> None:
        self.has_begun, self.unwritten = True, b""
        self._ends = [os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in range(2)]
        Descriptors.enlarge(*(out for out, _ in self._ends))
        self.stdout, self.stderr = (Drain(out, LIMIT, tail_bytes=TAIL_BYTES) for out, _ in self._ends)

    async def write(self, data: bytes, stream: int = 1) -> None:
        """As user code, which waits while the pipe is full; until all of it was read, or the pipe is not read on."""
        rest, drain = memoryview(data), (self.stdout, self.stderr)[stream - 1]
        end = drain.total_bytes + len(data)
        while drain.total_bytes < end and not (drain._is_held and self._is_full(stream)):
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(self._ends[stream - 1][1], rest) :]
            await asyncio.sleep(0.001)
        self.unwritten = bytes(rest)

    def _is_full(self, stream: int) -> bool:
        return not select.select([], [self._ends[stream - 1][1]], [], 0)[1]

    def finish(self) -> None:
        """All of it has ended."""
        for drain in (self.stdout, self.stderr):
            drain.finish()

    def close(self) -> None:
        self.finish()
        for end in (end for ends in self._ends for end in ends):
            os.close(end)


@pytest.fixture
async def pipes() -> AsyncIterator[Pipes]:
    made = Pipes()
    yield made
    made.close()


def connect(output: Output, pipes: Pipes) -> Output:
    output.connect(cast(Started, pipes))
    return output


def read_all(reader: Reader) -> list[tuple[str, bytes] | Gap]:
    found: list[tuple[str, bytes] | Gap] = []
    while (piece := reader.read()) is not None:
        found.append((piece.stream, piece.data) if isinstance(piece, Chunk) else piece)
    return found


async def test_it_is_given_in_the_order_in_which_it_came(pipes: Pipes) -> None:
    reader = connect(Output(), pipes).open(Position())
    for stream, text in ((1, b"a"), (1, b"b"), (2, b"c"), (1, b"d"), (2, b"e")):
        await pipes.write(text, stream)
    assert read_all(reader) == [("stdout", b"ab"), ("stderr", b"c"), ("stdout", b"d"), ("stderr", b"e")]
    assert reader.position == Position(3, 2)


async def test_one_that_comes_later_begins_where_it_asks_to(pipes: Pipes) -> None:
    output = connect(Output(), pipes)
    await pipes.write(b"0123456789")
    await pipes.write(b"error", 2)
    assert read_all(output.open(Position(8, 5))) == [("stdout", b"89")]
    assert read_all(output.open(Position())) == [("stdout", b"0123456789"), ("stderr", b"error")]


async def test_pieces_are_bounded(pipes: Pipes) -> None:
    reader = connect(Output(), pipes).open(Position())
    await pipes.write(bytes(3 * MAX_CHUNK_BYTES))
    pieces = []
    while (piece := reader.read()) is not None:
        assert isinstance(piece, Chunk)
        pieces.append(len(piece.data))
    assert max(pieces) == MAX_CHUNK_BYTES
    assert sum(pieces) == 3 * MAX_CHUNK_BYTES


async def test_before_user_code_has_begun_nothing_is_shown(pipes: Pipes) -> None:
    pipes.has_begun = False
    output = connect(Output(), pipes)
    reader = output.open(Position())
    await pipes.write(b"bwrap: no such path", 2)
    assert (reader.read(), output.shown_bytes, output.read_last(9)) == (None, Position(), (b"", b""))
    pipes.has_begun = True
    assert read_all(reader) == [("stderr", b"bwrap: no such path")]


async def test_what_never_began_shows_nothing_in_the_end_either(pipes: Pipes) -> None:
    pipes.has_begun = False
    output = connect(Output(), pipes)
    reader = output.open(Position())
    await pipes.write(b"bwrap: no such path", 2)
    output.settle(begun=False)
    assert (reader.read(), output.shown_bytes) == (None, Position())


async def test_a_second_sandbox_after_one_that_did_not_begin_is_shown(pipes: Pipes) -> None:
    first = Pipes()
    first.has_begun = False
    output = connect(Output(), first)
    reader = output.open(Position())
    await first.write(b"ended while it waited", 2)
    output.settle(begun=False)
    first.close()
    connect(output, pipes)
    await pipes.write(b"out")
    await pipes.write(b"err", 2)
    assert read_all(reader) == [("stdout", b"out"), ("stderr", b"err")]


async def test_what_the_last_look_finds_is_given_too(pipes: Pipes) -> None:
    output = connect(Output(), pipes)
    reader = output.open(Position())
    await pipes.write(b"first")
    os.write(pipes._ends[0][1], b"last")
    os.write(pipes._ends[1][1], b"words")
    output.settle(begun=True)
    pipes.finish()
    assert read_all(reader) == [("stdout", b"first"), ("stdout", b"last"), ("stderr", b"words")]
    assert reader.position == Position(9, 5)


async def test_of_a_long_stream_that_nobody_follows_the_beginning_and_the_end_are_held(pipes: Pipes) -> None:
    output = connect(Output(), pipes)
    data = os.urandom(LIMIT + 3 * TAIL_BYTES)
    await pipes.write(data)
    assert output.held_bytes == LIMIT + TAIL_BYTES
    begin = len(data) - TAIL_BYTES
    found = read_all(output.open(Position()))
    assert found[0] == ("stdout", data[:LIMIT])
    assert found[1] == Gap("stdout", LIMIT, begin, Position(begin, 0))
    assert b"".join(piece[1] for piece in found[2:] if isinstance(piece, tuple)) == data[begin:]
    assert output.read_last(4096) == (data[-4096:], b"")


async def test_the_last_bytes_may_lie_in_both_parts(pipes: Pipes) -> None:
    output, data = connect(Output(), pipes), os.urandom(LIMIT + 10)
    await pipes.write(data)
    assert output.read_last(100)[0] == data[-100:]
    assert output.read_last(5000)[0] == data


async def test_what_is_forgotten_is_a_gap_to_the_end(pipes: Pipes) -> None:
    output = connect(Output(), pipes)
    reader = output.open(Position())
    await pipes.write(b"0123456789")
    output.settle(begun=True)
    pipes.finish()
    output.forget()
    assert read_all(reader) == [Gap("stdout", 0, 10, Position(10, 0))]
    assert (output.held_bytes, output.shown_bytes) == (0, Position(10, 0))


async def test_a_reader_that_lags_costs_a_bounded_memory_and_gets_each_byte(pipes: Pipes) -> None:
    reader = connect(Output(), pipes).open(Position())
    for _ in range(3):
        for number in range(1500):
            reader.note("stdout" if number % 2 else "stderr", 0)
    assert len(reader._due) <= 1024
    await pipes.write(b"out")
    await pipes.write(b"err", 2)
    assert read_all(reader) == [("stdout", b"out"), ("stderr", b"err")]


async def test_held_it_is_not_read_on_until_somebody_has_read_it(pipes: Pipes) -> None:
    output = connect(Output(holds=True), pipes)
    data = os.urandom(RING_BYTES + 4 * MIB)
    await pipes.write(data)
    assert pipes.unwritten
    assert LIMIT + READ_AHEAD_BYTES <= pipes.stdout.total_bytes <= LIMIT + READ_AHEAD_BYTES + MIB
    reader, whole = output.open(Position()), bytearray()
    while len(whole) < len(data):
        for piece in read_all(reader):
            assert isinstance(piece, tuple), piece
            whole += piece[1]
        output.take(reader.position)
        await pipes.write(pipes.unwritten)
    assert whole == data
    assert output.held_bytes == LIMIT + RING_BYTES


async def test_held_what_was_sent_and_did_not_arrive_can_be_read_again(pipes: Pipes) -> None:
    output = connect(Output(holds=True), pipes)
    data = os.urandom(RING_BYTES + 4 * MIB)
    reader = output.open(Position())
    await pipes.write(data)
    while pipes.unwritten:
        read_all(reader)
        output.take(reader.position)
        await pipes.write(pipes.unwritten)
    reader.close()
    begin = reader.position.stdout - 6 * MIB
    again = output.open(Position(begin, 0))
    pieces = read_all(again)
    assert b"".join(piece[1] for piece in pieces if isinstance(piece, tuple)) == data[begin:]


async def test_not_held_a_reader_that_takes_nothing_stops_nothing(pipes: Pipes) -> None:
    output = connect(Output(), pipes)
    reader = output.open(Position())
    data = os.urandom(RING_BYTES + 4 * MIB)
    await pipes.write(data)
    assert (pipes.unwritten, pipes.stdout.total_bytes) == (b"", len(data))
    assert output.held_bytes == LIMIT + RING_BYTES
    assert Gap("stdout", LIMIT, len(data) - RING_BYTES, Position(len(data) - RING_BYTES, 0)) in read_all(reader)


async def test_one_that_nobody_follows_gets_no_callback_and_no_ring(pipes: Pipes) -> None:
    output = connect(Output(), pipes)
    await pipes.write(b"hello")
    assert (pipes.stdout.on_data, pipes.stderr.on_data, pipes.stdout._tail) == (None, None, None)
    assert (output._readers, output.is_wanted) == ((), False)


async def test_who_was_cut_off_is_expected_back_for_a_while(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    output = connect(Output(), pipes)
    reader = output.open(Position())
    reader.close()
    assert output.is_wanted
    monkeypatch.setattr("executor_runtime.sandbox.output.GRACE_S", 0.0)
    assert not output.is_wanted
