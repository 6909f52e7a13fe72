"""The blocking client: the asynchronous one, on an event loop in a thread of its own."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Self, TypeVar, Unpack

from anyio.from_thread import BlockingPortal, start_blocking_portal

from contracts.execution import ExecutionSpec
from sandbox_executor_client.aio import AsyncClient
from sandbox_executor_client.execution import Change, Execution
from sandbox_executor_client.handle import AsyncHandle
from sandbox_executor_client.options import RunOptions
from sandbox_executor_client.output import OnText, Output
from sandbox_executor_client.pool import Pool
from sandbox_executor_client.result import Result
from sandbox_executor_client.stored import StoredOutput

T = TypeVar("T")


class Client:
    """``AsyncClient`` without ``await``; each method does, returns and raises the same. Safe to use from threads.

    ::

        with Client(namespace="agents") as client:
            print(client.run("print('hello')", timeout=10).stdout)
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

    def run(
        self,
        code: str,
        *,
        check: bool = False,
        wait_timeout_s: float | None = None,
        on_stdout: OnText | None = None,
        on_stderr: OnText | None = None,
        **options: Unpack[RunOptions],
    ) -> Result:
        """``AsyncClient.run``; an exception that comes meanwhile, such as KeyboardInterrupt, cancels what runs.

        ``on_stdout`` and ``on_stderr`` are called in the client's own thread.
        """
        with self.submit(code, **options) as handle:
            result = handle.result(timeout_s=wait_timeout_s, on_stdout=on_stdout, on_stderr=on_stderr)
        return result.check() if check else result

    def submit(self, code: str, **options: Unpack[RunOptions]) -> "Handle":
        """``AsyncClient.submit``."""
        return Handle(self._portal, self._portal.call(partial(self._async.submit, code, **options)))

    def attach(self, name: str) -> "Handle":
        """``AsyncClient.attach``."""
        return Handle(self._portal, self._portal.call(self._async.attach, name))

    def create(
        self,
        spec: ExecutionSpec,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Execution:
        """``AsyncClient.create``."""
        return self._portal.call(partial(self._async.create, spec, name=name, labels=labels, annotations=annotations))

    def get(self, name: str) -> Execution:
        """``AsyncClient.get``."""
        return self._portal.call(self._async.get, name)

    def list(self, *, labels: str = "", phase: str = "") -> list[Execution]:
        """``AsyncClient.list``."""
        return self._portal.call(partial(self._async.list, labels=labels, phase=phase))

    def wait(self, name: str, *, timeout_s: float | None = None) -> Execution:
        """``AsyncClient.wait``."""
        return self._portal.call(partial(self._async.wait, name, timeout_s=timeout_s))

    def outputs_of(self, execution: Execution) -> Sequence[StoredOutput]:
        """``AsyncClient.outputs_of``."""
        return [StoredOutput.of(self._portal, found) for found in self._async.outputs_of(execution)]

    def cancel(self, name: str) -> Execution:
        """``AsyncClient.cancel``."""
        return self._portal.call(self._async.cancel, name)

    def delete(self, name: str) -> None:
        """``AsyncClient.delete``."""
        self._portal.call(self._async.delete, name)

    @contextmanager
    def states(self, name: str) -> Iterator[Iterator[Execution]]:
        """``AsyncClient.states`` in a context manager."""
        with _iterating(self._portal, self._async.states(name)) as states:
            yield states

    @contextmanager
    def output(self, name: str, *, follow: bool = True) -> Iterator[Iterator[Output]]:
        """``AsyncClient.output`` in a context manager."""
        with _iterating(self._portal, self._async.output(name, follow=follow)) as outputs:
            yield outputs

    @contextmanager
    def watch(self, *, labels: str = "", phase: str = "") -> Iterator[Iterator[Change]]:
        """``AsyncClient.watch`` in a context manager: the iterator ends where its block does."""
        with _iterating(self._portal, self._async.watch(labels=labels, phase=phase)) as changes:
            yield changes

    def pools(self) -> Sequence[Pool]:
        """``AsyncClient.pools``."""
        return self._portal.call(self._async.pools)

    def pool(self, name: str) -> Pool:
        """``AsyncClient.pool``."""
        return self._portal.call(self._async.pool, name)

    @property
    def _portal(self) -> BlockingPortal:
        if self._open_portal is None:
            raise RuntimeError("the client is not open: use it in a with block")
        return self._open_portal


class Handle:
    """``AsyncHandle`` without ``await``."""

    def __init__(self, portal: BlockingPortal, handle: AsyncHandle) -> None:
        self._portal, self._async = portal, handle

    def __enter__(self) -> Self:
        self._portal.call(self._async.__aenter__)
        return self

    def __exit__(self, *_: object) -> None:
        self._portal.call(self._async.__aexit__)

    @property
    def name(self) -> str:
        """``AsyncHandle.name``."""
        return self._async.name

    @property
    def namespace(self) -> str:
        """``AsyncHandle.namespace``."""
        return self._async.namespace

    @property
    def first(self) -> Execution:
        """As it was when the handle was made."""
        return self._async.first

    def execution(self) -> Execution:
        """``AsyncHandle.execution``."""
        return self._portal.call(self._async.execution)

    def result(
        self, *, timeout_s: float | None = None, on_stdout: OnText | None = None, on_stderr: OnText | None = None
    ) -> Result:
        """``AsyncHandle.result``."""
        call = partial(self._async.result, timeout_s=timeout_s, on_stdout=on_stdout, on_stderr=on_stderr)
        return self._portal.call(call).with_outputs(partial(StoredOutput.of, self._portal))

    @contextmanager
    def output(self, *, follow: bool = True) -> Iterator[Iterator[Output]]:
        """``AsyncHandle.output`` in a context manager."""
        with _iterating(self._portal, self._async.output(follow=follow)) as outputs:
            yield outputs

    @contextmanager
    def states(self) -> Iterator[Iterator[Execution]]:
        """``AsyncHandle.states`` in a context manager."""
        with _iterating(self._portal, self._async.states()) as states:
            yield states

    def cancel(self) -> None:
        """``AsyncHandle.cancel``."""
        self._portal.call(self._async.cancel)

    def delete(self) -> None:
        """``AsyncHandle.delete``."""
        self._portal.call(self._async.delete)


@contextmanager
def _iterating(portal: BlockingPortal, generator: AsyncGenerator[T, None]) -> Iterator[Iterator[T]]:
    """A blocking iterator over an asynchronous one, which is closed at the end of the block."""

    def iterate() -> Iterator[T]:
        while (item := portal.call(_next, generator)) is not None:
            yield item

    try:
        yield iterate()
    finally:
        portal.call(generator.aclose)


async def _next(generator: AsyncGenerator[T, None]) -> T | None:
    """The next item; None at the end."""
    return await anext(generator, None)
