"""The blocking client: the asynchronous one, on an event loop in a thread of its own."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from contracts.execution import ExecutionSpec
from sandbox_executor_client.aio import AsyncClient
from sandbox_executor_client.execution import Change, Execution


class Client:
    """``AsyncClient`` without ``await``; each method does, returns and raises the same. Safe to use from threads.

    ::

        with Client(namespace="agents") as client:
            created = client.create(ExecutionSpec(language="python", code="def handler(event): return 42"))
            print(client.wait(created.name, timeout_s=60).return_value)
    """

    def __init__(
        self, namespace: str | None = None, *, kubeconfig: str | None = None, context: str | None = None
    ) -> None:
        self._async = AsyncClient(namespace, kubeconfig=kubeconfig, context=context)
        self._stack = ExitStack()
        self._open_portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open_portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(self._open_portal.wrap_async_context_manager(self._async))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections and ends the thread; Executions go on."""
        self._stack.close()
        self._open_portal = None

    @property
    def namespace(self) -> str:
        """In which Executions are created and read."""
        return self._async.namespace

    def create(
        self, spec: ExecutionSpec, *, name: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Execution:
        """``AsyncClient.create``."""
        return self._portal.call(partial(self._async.create, spec, name=name, labels=labels))

    def get(self, name: str) -> Execution:
        """``AsyncClient.get``."""
        return self._portal.call(self._async.get, name)

    def list(self, *, labels: str = "", phase: str = "") -> list[Execution]:
        """``AsyncClient.list``."""
        return self._portal.call(partial(self._async.list, labels=labels, phase=phase))

    def wait(self, name: str, *, timeout_s: float | None = None) -> Execution:
        """``AsyncClient.wait``."""
        return self._portal.call(partial(self._async.wait, name, timeout_s=timeout_s))

    def cancel(self, name: str) -> Execution:
        """``AsyncClient.cancel``."""
        return self._portal.call(self._async.cancel, name)

    def delete(self, name: str) -> None:
        """``AsyncClient.delete``."""
        self._portal.call(self._async.delete, name)

    @contextmanager
    def watch(self, *, labels: str = "", phase: str = "") -> Iterator[Iterator[Change]]:
        """``AsyncClient.watch`` in a context manager: the iterator ends where its block does."""
        changes = self._async.watch(labels=labels, phase=phase)

        def iterate() -> Iterator[Change]:
            while True:
                yield self._portal.call(_next, changes)

        try:
            yield iterate()
        finally:
            self._portal.call(changes.aclose)

    @property
    def _portal(self) -> BlockingPortal:
        if self._open_portal is None:
            raise RuntimeError("the client is not open: use it in a with block")
        return self._open_portal


async def _next(changes: AsyncGenerator[Change, None]) -> Change:
    return await anext(changes)
