"""How often a stream is read whose writer is nobody's friend, and how fast one that has a small pipe."""

import asyncio
import fcntl
import os
from collections.abc import Callable

import pytest

from executor_runtime.sandbox.drain import Drain, find_pause

MIB = 1 << 20
SMALL_PIPE = 4096


@pytest.mark.parametrize(
    ("read_bytes", "is_dropped", "pause_s"),
    [
        (SMALL_PIPE, False, 0),
        (SMALL_PIPE, True, 0.001),
        (2 * SMALL_PIPE, True, 0.001),
        (MIB, False, 0),
        (MIB, True, 0.01),
        (SMALL_PIPE // 2, False, 0),
        (SMALL_PIPE // 2 - 1, False, 0.001),
        (1, True, 0.001),
    ],
)
def test_a_pause_is_as_long_as_what_came_is_worth(read_bytes: int, is_dropped: bool, pause_s: float) -> None:
    assert find_pause(read_bytes, 0, is_dropped=is_dropped) == pytest.approx(pause_s)


@pytest.mark.parametrize("is_dropped", [True, False])
def test_small_pieces_one_after_the_other_are_waited_for_longer(is_dropped: bool) -> None:
    pauses = [0.0]
    for _ in range(8):
        pauses.append(find_pause(1, pauses[-1], is_dropped=is_dropped))
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(0.01)
    assert find_pause(SMALL_PIPE, pauses[-1], is_dropped=is_dropped) < 0.002


async def test_what_a_small_pipe_carries_is_counted_whole() -> None:
    waits_at, writes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(writes, True)
    assert fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, SMALL_PIPE) == SMALL_PIPE
    drain = Drain(waits_at, 10 * SMALL_PIPE)
    ended = asyncio.Event()
    drain.on_end = ended.set

    def write() -> None:
        with open(writes, "wb", buffering=0) as file:
            for number in range(100):
                file.write(bytes([number]) * SMALL_PIPE)

    await asyncio.to_thread(write)
    await ended.wait()
    drain.finish()
    os.close(waits_at)
    assert (drain.total_bytes, drain.truncated, Drain.pausing) == (100 * SMALL_PIPE, True, 0)
    assert bytes(drain.kept) == b"".join(bytes([number]) * SMALL_PIPE for number in range(10))


async def test_streams_that_are_dropped_share_what_reading_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    all_pause = asyncio.Event()
    loop, pauses, pipes, drains = asyncio.get_running_loop(), list[float](), list[tuple[int, int]](), list[Drain]()

    def note(delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        pauses.append(delay_s)
        if len(pauses) == 8:
            all_pause.set()
        return loop.call_at(loop.time() + 3600, callback)

    monkeypatch.setattr(loop, "call_later", note)
    for _ in range(8):
        pipes.append(os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
        os.write(pipes[-1][1], bytes(SMALL_PIPE))
        drains.append(Drain(pipes[-1][0], 0))
    await all_pause.wait()
    assert pauses == pytest.approx([0.001] * 4 + [0.00125, 0.0015, 0.00175, 0.002])
    for drain, ends in zip(drains, pipes, strict=True):
        drain.finish()
        for end in ends:
            os.close(end)
    assert Drain.pausing == 0
