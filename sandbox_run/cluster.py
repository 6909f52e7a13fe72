"""Runs an Execution in a cluster and follows it to its end; who leaves earlier takes it along."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from contracts.output_events import Chunk, Gap, Position
from sandbox_executor_client import (
    AsyncClient,
    AsyncHandle,
    Execution,
    Forbidden,
    NotFound,
    NotInstalled,
    Output,
    Unavailable,
)
from sandbox_run.ended import Ended
from sandbox_run.errors import InputError
from sandbox_run.manifest import Wanted
from sandbox_run.output import program

Say = Callable[[str], None]
Show = Callable[[Chunk | Gap], Awaitable[None]]
_NO_POOL: Final = "PoolNotFound"


@dataclass(frozen=True)
class Target:
    """Which cluster, and which namespace in it; None is what kubectl would take."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None

    def client(self) -> AsyncClient:
        """A client for it, to be used in ``async with``."""
        return AsyncClient(self.namespace, kubeconfig=self.kubeconfig, context=self.context)


async def submit(client: AsyncClient, wanted: Wanted) -> AsyncHandle:
    """Creates it and waits for nothing.

    Raises:
        InputError: its pool is not there.
        ClientError: the cluster does not take it.
    """
    await _check_pool(client, wanted.spec.pool)
    return await client.begin(
        wanted.spec, name=wanted.name, labels=wanted.labels or None, annotations=wanted.annotations or None
    )


async def run_in_cluster(
    client: AsyncClient, wanted: Wanted, say: Say, warn: Say, follower: "Follower | None" = None
) -> Ended:
    """Creates it and waits for its end. When the caller is cancelled meanwhile, so is the Execution.

    ``follower``: who shows its output while it runs.

    Raises:
        InputError: its pool is not there; the Execution is cancelled.
        ClientError: the cluster does not take it, or has lost it.
    """
    async with await submit(client, wanted) as handle:
        if follower is None:
            return await _wait(handle, say, warn)
        async with follower.following(handle.output()):
            return await _wait(handle, say, warn)


async def _wait(handle: AsyncHandle, say: Say, warn: Say) -> Ended:
    async with aclosing(handle.states()) as states:
        if handle.first.finished:
            warn(f"{handle.name} has run before, and this is how it ended; to run it anew give another --name")
        async for state in states:
            if state.finished:
                return Ended.of(state)
            if state.reason == _NO_POOL:
                raise InputError(f"{state.message}; {handle.name} is cancelled")
            say(tell(state))
    raise AssertionError("states end with the end of the Execution, or raise")


class Follower:
    """Shows the output of one Execution as it comes, where the cluster can tell it; else says that it cannot."""

    def __init__(self, show: Show, warn: Say) -> None:
        self._show, self._warn = show, warn
        self.is_shown = False
        """All of it was shown."""

    @asynccontextmanager
    async def following(self, outputs: AsyncGenerator[Output, None]) -> AsyncIterator[None]:
        """Shows it beside what the block does, and all of it before the block ends. Where showing fails (its reader has
        gone), so does the block."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.follow(outputs), name="output of an Execution")
                yield
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def follow(self, outputs: AsyncGenerator[Output, None]) -> None:
        """Returns at its end, or when it cannot be shown."""
        attempt = 1
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    if output.attempt != attempt:
                        self._warn(f"attempt {attempt} was lost; attempt {output.attempt} begins")
                        attempt = output.attempt
                    await self._tell(output)
            self.is_shown = True
        except (NotInstalled, Forbidden, Unavailable) as error:
            self._warn(f"{error}; what the status keeps of its output follows at its end")

    async def _tell(self, output: Output) -> None:
        if output.missing < 0:
            self._warn(f"what it printed to {output.stream} from here on was not kept")
        elif output.missing:
            await self._show(Gap(output.stream, 0, output.missing, Position()))
        if output.data:
            await self._show(Chunk(output.stream, output.data, Position()))


def tell(state: Execution) -> str:
    """Where an Execution is that has not ended, for a person who waits."""
    if state.phase == "Running":
        done = "".join(
            f", {key} {value}" for key, value in (state.progress or {}).items() if not isinstance(value, dict)
        )
        return f"{state.name} is running{done}"
    return f"{state.name} is waiting{f': {state.message}' if state.message else ''}"


async def _check_pool(client: AsyncClient, name: str) -> None:
    """A pool that is missing leaves an Execution waiting; a person wants to know at once."""
    try:
        await client.pool(name)
    except Forbidden:
        return  # the controller can tell
    except NotInstalled:
        raise
    except NotFound:
        raise InputError(
            f"there is no ExecutorPool {name!r} in this cluster: {program.get()} pools lists them"
        ) from None
