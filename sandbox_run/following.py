"""Reads the output of one execution from an executor while it runs (``contracts.output_events``)."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

import aiohttp

from contracts.output_events import Chunk, End, EventError, EventReader, Gap, Pause, Position
from sandbox_run.errors import ExecutorFailed
from sandbox_run.executor import LocalExecutor

_CONNECT_TIMEOUT_S: Final = 5.0
_SILENCE_S: Final = 30.0
"""Three times as long as an executor is silent at most."""
_TRIES: Final = 5
"""Without anything new."""
_PAUSE_S: Final = 0.2

Show = Callable[[Chunk | Gap], Awaitable[None]]


async def follow(executor: LocalExecutor, execution_id: str, show: Show) -> None:
    """Shows all of its output, in order and once, however often the connection breaks; returns at its end.

    Raises:
        ExecutorFailed: the executor does not answer, or has forgotten it.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=_SILENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        position, tries = Position(), 0
        while True:
            before = position
            try:
                async with aclosing(_read(session, executor, execution_id, position)) as events:
                    async for event in events:
                        position = event.after
                        if isinstance(event, End):
                            return
                        await show(event)
                broken = "it ends before its end"
            except (aiohttp.ClientError, TimeoutError, EventError) as error:
                broken = str(error) or type(error).__name__
            tries = 0 if position != before else tries + 1
            if tries == _TRIES:
                raise ExecutorFailed(f"the output of the executor breaks off: {broken}")
            await asyncio.sleep(_PAUSE_S)


async def _read(
    session: aiohttp.ClientSession, executor: LocalExecutor, execution_id: str, position: Position
) -> AsyncGenerator[Chunk | Gap | End, None]:
    url, reader = f"{executor.url}/executions/{execution_id}/output", EventReader()
    query = {"stdout": str(position.stdout), "stderr": str(position.stderr)}
    headers = {"Authorization": f"Bearer {executor.token}"}
    async with session.get(url, params=query, headers=headers, allow_redirects=False) as answer:
        if answer.status == 404:
            raise ExecutorFailed("the executor has forgotten the execution")
        answer.raise_for_status()
        async for data in answer.content.iter_any():
            for event in reader.feed(data):
                if not isinstance(event, Pause):
                    yield event
