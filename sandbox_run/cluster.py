"""Runs an Execution in a cluster and follows it to its end; who leaves earlier takes it along."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from sandbox_executor_client import AsyncClient, AsyncHandle, Execution, Forbidden, NotFound, NotInstalled
from sandbox_run.ended import Ended
from sandbox_run.errors import InputError
from sandbox_run.manifest import Wanted
from sandbox_run.output import program

Say = Callable[[str], None]
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


async def run_in_cluster(client: AsyncClient, wanted: Wanted, say: Say, warn: Say) -> Ended:
    """Creates it and waits for its end. When the caller is cancelled meanwhile, so is the Execution.

    Raises:
        InputError: its pool is not there; the Execution is cancelled.
        ClientError: the cluster does not take it, or has lost it.
    """
    async with await submit(client, wanted) as handle, aclosing(handle.states()) as states:
        if handle.first.finished:
            warn(f"{handle.name} has run before, and this is how it ended; to run it anew give another --name")
        async for state in states:
            if state.finished:
                return Ended.of(state)
            if state.reason == _NO_POOL:
                raise InputError(f"{state.message}; {handle.name} is cancelled")
            say(tell(state))
    raise AssertionError("states end with the end of the Execution, or raise")


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
