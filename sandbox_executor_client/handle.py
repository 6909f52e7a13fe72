"""One Execution that somebody follows; ``sync.Handle`` is the twin of ``AsyncHandle``."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, Self

import anyio

from sandbox_executor_client.errors import ClientError, Deleted, NotFound, NotInstalled, WaitTimeout
from sandbox_executor_client.execution import Execution
from sandbox_executor_client.output import OnText, Output, Teller
from sandbox_executor_client.result import Result
from sandbox_executor_client.stored import AsyncStoredOutput

if TYPE_CHECKING:
    from sandbox_executor_client.aio import AsyncClient

_CANCEL_TIMEOUT_S: Final = 10.0
_LAST_OUTPUT_S: Final = 30.0
"""For output that is under way when the end is known."""


class AsyncHandle:
    """What ``submit`` and ``attach`` give. In a ``with`` block it ends with the block: what still runs is cancelled.

    ::

        async with await client.submit(code) as handle:
            result = await handle.result()
    """

    def __init__(self, client: "AsyncClient", first: Execution) -> None:
        self._client, self.first = client, first
        self._ended = first if first.finished else None
        self._in_block = False

    async def __aenter__(self) -> Self:
        self._in_block = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancels what has not ended."""
        if self._ended is None:
            await cancel_anyway(self._client, self.name)

    @property
    def name(self) -> str:
        """Of the Execution: ``attach`` takes it, also in another process."""
        return self.first.name

    @property
    def namespace(self) -> str:
        """Of the Execution."""
        return self.first.namespace

    async def execution(self) -> Execution:
        """As it is now."""
        return await self._client.get(self.name)

    async def result(
        self, *, timeout_s: float | None = None, on_stdout: OnText | None = None, on_stderr: OnText | None = None
    ) -> Result[AsyncStoredOutput]:
        """Waits for the end.

        ``on_stdout`` and ``on_stderr`` are called with the text of a stream as it comes. Where the cluster has no log
        API, or the caller may not use it, they are called once, at the end, with what the status keeps.

        Raises:
            WaitTimeout: it has not ended within ``timeout_s``.
            Deleted: somebody deleted it.
        """
        if on_stdout is not None or on_stderr is not None:
            return await self._tell(Teller(on_stdout, on_stderr), timeout_s)
        if self._ended is None:
            try:
                self._ended = await self._client.wait(self.name, timeout_s=timeout_s)
            except (Deleted, NotInstalled):
                raise
            except NotFound as error:  # it has been there: who made this handle has seen it
                text = f"{self.namespace}/{self.name} was deleted before it ended"
                raise Deleted(text, request_id=error.request_id) from error
            except WaitTimeout as error:
                if not self._in_block:
                    raise
                text = f"{self.namespace}/{self.name} has not ended within {timeout_s:g} s and is cancelled"
                raise WaitTimeout(text) from error
        return Result.of(self._ended, self._client.outputs_of(self._ended))

    async def output(self, *, follow: bool = True) -> AsyncGenerator[Output, None]:
        """``AsyncClient.output`` of this one."""
        async with aclosing(self._client.output(self.name, follow=follow)) as outputs:
            async for output in outputs:
                yield output

    async def _tell(self, teller: Teller, timeout_s: float | None) -> Result[AsyncStoredOutput]:
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(teller.tell(self.output()), name="output of an Execution")
                result = await self.result(timeout_s=timeout_s)
                await asyncio.wait([telling], timeout=_LAST_OUTPUT_S)
                telling.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        if not teller.told and self._ended is not None:
            teller.tell_ended(self._ended)
        return result

    async def states(self) -> AsyncGenerator[Execution, None]:
        """``AsyncClient.states`` of this one."""
        async with aclosing(self._client.states(self.name)) as states:
            async for state in states:
                if state.finished:
                    self._ended = state
                yield state

    async def cancel(self) -> None:
        """Asks for its end; ``result`` says how it ended."""
        await self._client.cancel(self.name)

    async def delete(self) -> None:
        """Deletes it; what runs is killed."""
        await self._client.delete(self.name)


async def cancel_anyway(client: "AsyncClient", name: str) -> None:
    """Asks for the end of one that nobody waits for any more, as well as that goes within a bound of time.

    Shielded, because the reason may be that the caller itself is cancelled.
    """
    with anyio.move_on_after(_CANCEL_TIMEOUT_S, shield=True), suppress(ClientError):
        await client.cancel(name)
