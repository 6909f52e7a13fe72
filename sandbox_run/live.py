"""Prints what a program writes while it runs: stdout to stdout, stderr to stderr, as it comes.

On a terminal the same is made of it as of output that is printed at the end (``text``). What a program in JavaScript or
shell prints between two markers is its return value and no output; so from the first marker on stdout waits for the
end, when the executor has said what of it is which.
"""

import asyncio
import codecs
import io
import os
import re
import select
import sys
from typing import Final, TextIO

from contracts import bounds
from contracts.output_events import Chunk, Gap
from sandbox_run import output
from sandbox_run.text import for_terminal

_MARKER: Final = b"===SANDBOX_RESULT==="
_UNFINISHED: Final = re.compile(r"(?:\r|\x1b(?:\[[0-9;:]{0,64})?)\Z")
"""What may be the beginning of something that ``for_terminal`` treats as one."""


class Live:
    """Prints one run. ``raw``: a terminal gets every byte as it is."""

    def __init__(self, *, raw: bool, has_markers: bool) -> None:
        self._outlets = {"stdout": _outlet(sys.stdout, raw), "stderr": _outlet(sys.stderr, raw)}
        self._gate = _Gate() if has_markers else None

    async def show(self, event: Chunk | Gap) -> None:
        """Prints what has come."""
        if isinstance(event, Gap):
            output.say(f"{event.end - event.begin} bytes of {event.stream} are missing here: nobody has kept them")
            return
        data = event.data
        if self._gate is not None and event.stream == "stdout":
            data = self._gate.take(data)
        await self._outlets[event.stream].write(data)

    async def finish(self, stdout: str) -> None:
        """Prints what has waited for the end; ``stdout`` is what the result has."""
        if self._gate is not None:
            await self._outlets["stdout"].write(self._gate.rest(stdout))
        for outlet in self._outlets.values():
            await outlet.finish()


class _Gate:
    """Lets pass what comes before the first marker. Beyond what an executor keeps it looks for none."""

    def __init__(self) -> None:
        self._held, self._passed = b"", bytearray()
        self._is_shut = False

    def take(self, data: bytes) -> bytes:
        """What may be printed now."""
        if self._is_shut:
            return b""
        data, self._held = self._held + data, b""
        if len(self._passed) >= bounds.MAX_STREAM_BYTES:
            return data
        found = data.find(_MARKER)
        self._is_shut = found >= 0
        if not self._is_shut:
            found = len(data) - _overlap(data)
            self._held = data[found:]
        self._passed += data[:found]
        return data[:found]

    def rest(self, stdout: str) -> bytes:
        """What is left of it, where the markers and the value between them are taken out."""
        if not self._is_shut:
            return self._held
        return stdout[len(self._passed.decode(errors="replace")) :].encode("utf-8", "replace")


def _overlap(data: bytes) -> int:
    """How many of the last bytes may begin a marker."""
    return next((size for size in range(len(_MARKER) - 1, 0, -1) if data.endswith(_MARKER[:size])), 0)


class _Pipe:
    """Passes bytes on as they are, and waits for a slow reader without stopping the event loop."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    async def write(self, data: bytes) -> None:
        """Returns when all is written."""
        if not data:
            return
        self._stream.flush()
        try:
            descriptor = self._stream.fileno()
        except io.UnsupportedOperation:
            self._stream.buffer.write(data)
            return
        rest = memoryview(data)
        while rest:
            await _wait_until_writable(descriptor)
            rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]

    async def finish(self) -> None:
        """Nothing is held back."""


class _Terminal(_Pipe):
    """The same, but nothing except colours commands the terminal."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    async def write(self, data: bytes, *, is_last: bool = False) -> None:
        """Returns when all that is complete is written."""
        text = self._held + self._decoder.decode(data, final=is_last)
        found = None if is_last else _UNFINISHED.search(text)
        self._held = found[0] if found else ""
        await super().write(for_terminal(text[: len(text) - len(self._held)]).encode())

    async def finish(self) -> None:
        """Writes what was held back."""
        await self.write(b"", is_last=True)


def _outlet(stream: TextIO, raw: bool) -> _Pipe:
    return _Terminal(stream) if stream.isatty() and not raw else _Pipe(stream)


async def _wait_until_writable(descriptor: int) -> None:
    """Until so many bytes as a pipe takes at once can be written: a write that blocks would stop signals too."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if poll.poll(0):
        return
    loop, writable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(descriptor, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(descriptor)
