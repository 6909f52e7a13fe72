"""An Execution's output as it comes, through the log API (``docs/live-output.md``).

The connection may break at any moment; it is made anew where it broke, so that each byte is given once. A cluster
without the log API is told apart from an Execution that is not there.
"""

import asyncio
import codecs
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from contracts import output_events
from contracts.output_events import Fields, Position, StreamName
from sandbox_executor_client.errors import Deleted, Forbidden, NotInstalled, Unavailable
from sandbox_executor_client.kube import KubeApi
from sandbox_executor_client.log_api import PAUSES_S, check_installed, subresource_path

if TYPE_CHECKING:
    from sandbox_executor_client.execution import Execution

OnText = Callable[[str], object]
_ABSENT: Final = (
    "this cluster has no live output: have its operator installed with logAPI.enabled=true (docs/live-output.md)"
)


@dataclass(frozen=True, slots=True)
class Output:
    """Something that an Execution has printed.

    Attributes:
        data: bytes of the stream; they need not end where a character does.
        missing: so many bytes before ``data`` are not kept any more; -1: nobody knows how many.
        attempt: which attempt has printed it; a later one begins anew.
    """

    stream: StreamName
    data: bytes
    missing: int = 0
    attempt: int = 1


def output_path(namespace: str, name: str) -> str:
    """Where the log API has it."""
    return subresource_path(namespace, name, "log")


async def read_output(api: KubeApi, path: str, *, follow: bool) -> AsyncGenerator[Output, None]:
    """All of it, each byte once; with ``follow`` to the end of the Execution.

    Raises:
        NotInstalled: the cluster has no log API.
        Forbidden, NotFound: it refuses, or there is no such Execution.
        Deleted: it was deleted meanwhile.
        Unavailable: the log API has not answered for about a minute.
    """
    reading = _Reading()
    failures = 0
    while not reading.ended:
        query = {"follow": str(follow).lower(), **reading.query()}
        try:
            async with aclosing(api.stream(path, query)) as pieces:
                events = output_events.FieldReader()
                async for piece in pieces:
                    failures = 0
                    for output in map(reading.take, events.feed(piece)):
                        if output is not None:
                            yield output
            if not reading.ended:
                raise Unavailable("the log API's answer broke off")
        except NotInstalled as error:
            raise NotInstalled(_ABSENT, request_id=error.request_id) from None
        except Forbidden:
            await check_installed(api, _ABSENT)
            raise
        except output_events.EventError as error:
            raise Unavailable(f"the log API's answer cannot be read: {error}") from error
        except Unavailable:
            if failures >= len(PAUSES_S):
                raise
            await asyncio.sleep(PAUSES_S[failures])
            failures += 1


class _Reading:
    """How far it has got."""

    def __init__(self) -> None:
        self.ended = False
        self._attempt = 0
        self._position = Position()

    def query(self) -> Mapping[str, str]:
        """What makes the next answer begin where this one broke."""
        if not self._attempt:
            return {}
        offsets = {"stdoutOffset": str(self._position.stdout), "stderrOffset": str(self._position.stderr)}
        return {"attempt": str(self._attempt), **offsets}

    def take(self, fields: Fields) -> Output | None:
        """What an event gives to print.

        Raises:
            Deleted, Unavailable: it goes no further, or not now.
        """
        kind = fields.get("event", b"")
        if kind == b"attempt":
            attempt = int(json.loads(fields["data"])["attempt"])
            if attempt != self._attempt:
                self._attempt, self._position = attempt, Position()
            return None
        if kind == b"lost":
            return Output(json.loads(fields["data"])["stream"], b"", -1, self._attempt)
        if kind == b"error":
            told = json.loads(fields["data"])
            kind_of_error = Deleted if told.get("code") == 404 else Unavailable
            raise kind_of_error(str(told.get("message", "the output goes no further")))
        event = output_events.decode(fields)
        if event is None:
            return None
        self._position = event.after
        match event:
            case output_events.Chunk(stream, data):
                return Output(stream, data, 0, self._attempt)
            case output_events.Gap(stream, begin, end):
                return Output(stream, b"", end - begin, self._attempt)
            case _:
                self.ended = True
                return None


class Teller:
    """Gives output to those who want it as text, a whole character at a time."""

    def __init__(self, on_stdout: OnText | None, on_stderr: OnText | None) -> None:
        self._wanted = {"stdout": on_stdout, "stderr": on_stderr}
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in self._wanted}
        self.told = False

    async def tell(self, outputs: AsyncGenerator[Output, None]) -> None:
        """Everything, as it comes; what is missing is left out, and everything where the cluster cannot tell it."""
        with suppress(NotInstalled, Forbidden, Unavailable, Deleted):
            async with aclosing(outputs):
                async for output in outputs:
                    self.told = True
                    self._give(output.stream, self._decoders[output.stream].decode(output.data))
        for name in self._wanted:
            self._give(name, self._decoders[name].decode(b"", final=True))

    def tell_ended(self, execution: "Execution") -> None:
        """What the status keeps, to those who have been told nothing."""
        for name, text in (("stdout", execution.stdout), ("stderr", execution.stderr)):
            self._give(name, text)

    def _give(self, stream: str, text: str) -> None:
        receiver = self._wanted[stream]
        if text and receiver is not None:
            receiver(text)
