"""Who may read what, what is sent to one that is silent, slow or gone."""

import asyncio
from typing import Any, cast

import pytest
from starlette.datastructures import QueryParams
from starlette.types import Message

from contracts.output_events import KEEP_ALIVE, Chunk, End, EventReader, Position
from executor_runtime import live_output
from executor_runtime.errors import NotFound, TooManyReaders, ValidationFailed
from executor_runtime.live_output import Asked, OutputResponse, Readers, describe_end, parse_query
from executor_runtime.queue import Ticket
from executor_runtime.records import Faded, Record
from executor_runtime.sandbox.start import Started


class Words:
    """Stands for a drain: what has been read of a stream so far."""

    def __init__(self) -> None:
        self.kept = b""
        self.on_data: Any = None

    @property
    def total_bytes(self) -> int:
        return len(self.kept)

    def read(self, offset: int, size: int) -> tuple[int, bytes]:
        return offset, self.kept[offset : offset + size]

    def remember(self, tail_bytes: int) -> None:
        """All of it, always."""

    def add(self, words: bytes) -> None:
        self.kept += words
        if self.on_data is not None:
            self.on_data()


class Begun:
    """Stands for a sandbox whose code has begun."""

    has_begun = True

    def __init__(self) -> None:
        self.stdout, self.stderr = Words(), Words()


def make_record(number: int = 1) -> tuple[Record, Begun]:
    record = Record(f"exec_20260115_{number:08d}", b"", "python", None, Ticket(None), 0.0)
    sandbox = Begun()
    record.output.connect(cast(Started, sandbox))
    return record, sandbox


def end(record: Record) -> None:
    record.status, record.reason, record.exit_code = "failed", "NonZeroExit", 3
    record.output.settle(begun=True)
    record.ended.set()
    record.output.wake()


class Client:
    """The other side of a connection: what it was sent; it goes when it is told to."""

    def __init__(self, *, is_stuck: bool = False) -> None:
        self.status, self.body, self.is_complete = 0, b"", False
        self.has_gone, self.changed = asyncio.Event(), asyncio.Event()
        self._is_stuck = is_stuck

    async def receive(self) -> Message:
        await self.has_gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        if self._is_stuck:
            await asyncio.Event().wait()
        self.body += message["body"]
        self.is_complete = not message.get("more_body", False)
        self.changed.set()

    async def wait_for(self, words: bytes) -> None:
        async with asyncio.timeout(60):
            while words not in self.body:
                self.changed.clear()
                await self.changed.wait()


def serve(record: Record, client: Client, readers: Readers, **asked: Any) -> "asyncio.Task[None]":
    known, reader = readers.open(record, Asked(**asked))
    response = OutputResponse(known, reader, readers, asked.get("follow", True))
    return asyncio.create_task(response({"type": "http"}, client.receive, client.send))


async def test_events_come_until_the_end_and_nothing_after_it() -> None:
    (record, sandbox), client, readers = make_record(), Client(), Readers()
    serving = serve(record, client, readers)
    sandbox.stdout.add(b"one")
    await client.wait_for(b"b25l")
    sandbox.stderr.add(b"two")
    await client.wait_for(b"dHdv")
    end(record)
    await serving
    ending = describe_end(record)
    assert (ending.phase, ending.exit_code, ending.stdout_bytes, ending.stderr_bytes) == ("Failed", 3, 3, 3)
    assert EventReader().feed(client.body) == [
        Chunk("stdout", b"one", Position(3, 0)),
        Chunk("stderr", b"two", Position(3, 3)),
        End(ending, Position(3, 3)),
    ]
    assert (client.status, client.is_complete, record.output.readers) == (200, True, 0)
    assert not record.output.is_wanted


async def test_silence_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "KEEP_ALIVE_S", 0.01)
    (record, _), client = make_record(), Client()
    serving = serve(record, client, Readers())
    await client.wait_for(3 * KEEP_ALIVE)
    end(record)
    await serving
    assert client.body.startswith(3 * KEEP_ALIVE)
    assert isinstance(EventReader().feed(client.body)[-1], End)


async def test_who_goes_is_noticed_in_silence_and_its_place_is_free() -> None:
    (record, _), client, readers = make_record(), Client(), Readers(most=1)
    serving = serve(record, client, readers)
    await asyncio.sleep(0)
    with pytest.raises(TooManyReaders):
        readers.open(record, Asked())
    client.has_gone.set()
    await serving
    assert (client.is_complete, record.output.readers, record.output.is_wanted) == (False, 0, True)
    readers.open(record, Asked())


async def test_who_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "SEND_TIMEOUT_S", 0.01)
    (record, sandbox), client = make_record(), Client(is_stuck=True)
    sandbox.stdout.add(b"one")
    await serve(record, client, Readers())
    assert (client.body, client.is_complete, record.output.readers) == (b"", False, 0)


async def test_one_that_reads_as_fast_as_it_can_lets_others_go_on() -> None:
    (record, sandbox), client = make_record(), Client()
    sandbox.stdout.add(bytes(64 * 32_768))
    end(record)
    serving, turns = serve(record, client, Readers()), 0
    while not serving.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 64


async def test_readers_are_bounded_for_each_execution_and_for_all() -> None:
    readers, ours = Readers(most=3, most_of_one=2), [make_record(number)[0] for number in range(3)]
    opened = [readers.open(ours[0], Asked())[1] for _ in range(2)]
    with pytest.raises(TooManyReaders, match="follow output here") as refused:
        readers.open(ours[0], Asked())
    assert (refused.value.detail, refused.value.headers["Retry-After"]) == (
        "2 of 2 follow this execution, 2 of 3 this executor",
        "1",
    )
    readers.open(ours[1], Asked())
    with pytest.raises(TooManyReaders, match="follow output here"):
        readers.open(ours[2], Asked())
    readers.close(opened[0])
    readers.open(ours[2], Asked())


async def test_what_is_not_there_is_not_read() -> None:
    (record, sandbox), readers = make_record(), Readers()
    sandbox.stdout.add(b"three")
    faded = Faded(record.execution_id, b"", "success", 0.0)
    with pytest.raises(NotFound, match="not held here"):
        readers.open(faded, Asked())
    with pytest.raises(NotFound, match="not held here"):
        readers.open(record, Asked(attempt=2))
    with pytest.raises(ValidationFailed) as refused:
        readers.open(record, Asked(Position(6, 0)))
    assert refused.value.detail == "stdout: 6 is beyond the 5 bytes that were written so far"
    readers.open(record, Asked(Position(5, 0), attempt=1))


async def test_output_is_its_owners_alone() -> None:
    """Also where nobody has said whose it is: an id may have been chosen for what ran under it before."""
    (mine, _), (nobodys, _), readers = make_record(), make_record(2), Readers()
    mine.owner = "uid-1"
    readers.open(mine, Asked(owner="uid-1"))
    readers.open(mine, Asked())
    for record in (mine, nobodys):
        with pytest.raises(NotFound):
            readers.open(record, Asked(owner="uid-2"))


def test_a_query_is_read() -> None:
    assert parse_query(QueryParams("owner=uid-1")) == Asked(owner="uid-1")
    with pytest.raises(ValidationFailed, match="owner"):
        parse_query(QueryParams("owner=a%20b"))
    assert parse_query(QueryParams("")) == Asked()
    assert parse_query(QueryParams("stdout=7&stderr=0&follow=false&attempt=3")) == Asked(Position(7, 0), False, 3)


@pytest.mark.parametrize("status", ["success", "failed", "timeout", "error", None])
async def test_the_end_has_the_phase_that_a_status_would_have(status: Any) -> None:
    phases = {"success": "Succeeded", "failed": "Failed", "timeout": "TimedOut", "error": "Failed", None: "Crashed"}
    record, _ = make_record()
    record.status = status
    assert describe_end(record).phase == phases[status]
    record.status, record.reason = "failed", "Cancelled"
    assert describe_end(record).phase == "Cancelled"
