"""The asynchronous client; ``sync.Client`` is its twin for everybody else."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Final, Self, Unpack

from contracts.execution import ExecutionSpec
from contracts.kube import API_VERSION, EXECUTION_KIND, EXECUTION_PLURAL, GROUP, POOL_PLURAL, VERSION
from sandbox_executor_client.errors import Conflict, Deleted, InvalidExecution, NotFound, WaitTimeout
from sandbox_executor_client.execution import Change, Execution, name_of, new_execution_id
from sandbox_executor_client.following import follow
from sandbox_executor_client.handle import AsyncHandle, cancel_anyway
from sandbox_executor_client.kube import AlreadyExists, Body, KubeApi, load_configuration
from sandbox_executor_client.options import RunOptions, make_spec
from sandbox_executor_client.output import OnText, Output, output_path, read_output
from sandbox_executor_client.pool import Pool
from sandbox_executor_client.result import Result
from sandbox_executor_client.stored import AsyncStoredOutput, make_fetch, outputs_path
from sandbox_executor_client.tracing import current_trace

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_POOLS: Final = f"/apis/{GROUP}/{VERSION}/{POOL_PLURAL}"
_DEFAULTS: Final[Mapping[str, Any]] = {
    field.alias or name: field.default
    for name, field in ExecutionSpec.model_fields.items()
    if not field.is_required() and field.default is not None
}


class AsyncClient:
    """Executions of one namespace, through the Kubernetes API.

    ::

        async with AsyncClient(namespace="agents") as client:
            result = await client.run("print('hello')", timeout=10)
            print(result.exit_code, result.stdout)

    ``kubeconfig`` and ``context`` say which cluster; left out, it is what kubectl would take, in a pod the
    cluster that the pod is in. ``namespace`` left out is the context's.
    """

    def __init__(
        self, namespace: str | None = None, *, kubeconfig: str | None = None, context: str | None = None
    ) -> None:
        self._given_namespace, self._kubeconfig, self._context = namespace, kubeconfig, context
        self._namespace = namespace or ""
        self._api: KubeApi | None = None

    async def __aenter__(self) -> Self:
        """Raises NotConfigured when there is no cluster to talk to."""
        configuration, namespace = await load_configuration(self._kubeconfig, self._context)
        self._namespace = self._given_namespace or namespace
        self._api = KubeApi(configuration)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections; Executions go on."""
        if self._api is not None:
            await self._api.close()
            self._api = None

    @property
    def namespace(self) -> str:
        """In which Executions are created and read."""
        return self._namespace

    async def run(
        self,
        code: str,
        *,
        check: bool = False,
        wait_timeout_s: float | None = None,
        on_stdout: OnText | None = None,
        on_stderr: OnText | None = None,
        **options: Unpack[RunOptions],
    ) -> Result[AsyncStoredOutput]:
        """Runs code and waits for its end. A program that fails is a result; with ``check`` it is an exception.

        ``on_stdout`` and ``on_stderr`` get the text of a stream as it comes, or at the end what the status keeps of it
        where the cluster has no log API (``AsyncHandle.result``).

        Leaving early, because ``wait_timeout_s`` is over or the caller is cancelled, cancels what runs.

        Raises:
            ExecutionFailed: with ``check``, unless the phase is Succeeded.
            WaitTimeout: it has not ended within ``wait_timeout_s``, queue included.
            InvalidExecution, Conflict, Forbidden, NotInstalled, Unavailable: it was not created.
            Deleted: somebody deleted it.
        """
        async with await self.submit(code, **options) as handle:
            result = await handle.result(timeout_s=wait_timeout_s, on_stdout=on_stdout, on_stderr=on_stderr)
        return result.check() if check else result

    async def submit(self, code: str, **options: Unpack[RunOptions]) -> AsyncHandle:
        """Begins what ``run`` does, and waits for nothing; raises as ``create`` does."""
        return await self.begin(make_spec(code, options), name=options.get("name"), labels=options.get("labels"))

    async def begin(
        self,
        spec: ExecutionSpec,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> AsyncHandle:
        """``create`` with a handle. A caller that is cancelled meanwhile leaves no new Execution that goes on."""
        if name is not None or spec.execution_id is not None:
            return AsyncHandle(self, await self.create(spec, name=name, labels=labels, annotations=annotations))
        spec = spec.model_copy(update={"execution_id": new_execution_id()})
        try:
            return AsyncHandle(self, await self.create(spec, labels=labels, annotations=annotations))
        except asyncio.CancelledError:
            await cancel_anyway(self, name_of(spec.execution_id or ""))
            raise

    async def attach(self, name: str) -> AsyncHandle:
        """A handle on an Execution that exists; raises NotFound."""
        return AsyncHandle(self, await self.get(name))

    async def create(
        self,
        spec: ExecutionSpec,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Execution:
        """Creates an Execution, once, however often it is called with the same id or name.

        The object's name is made of ``spec.execution_id`` (a new one when it is left out), so that the API server
        refuses a second one; an Execution that exists and asks for the same is returned as it is. Where the caller uses
        OpenTelemetry, the span that it stands in goes along, as an annotation.

        Raises:
            InvalidExecution: the API server refuses it; the message says what to write instead.
            Conflict: the name belongs to an Execution that asks for something else.
            Forbidden, NotFound, Unavailable: as for every call.
        """
        if name is None and spec.execution_id is None:
            spec = spec.model_copy(update={"execution_id": new_execution_id()})
        name = name or name_of(spec.execution_id or "")
        wanted = _to_kube(spec)
        given = {"labels": labels, "annotations": current_trace() | dict(annotations or {})}
        metadata = {"name": name, **{field: dict(value) for field, value in given.items() if value}}
        body = {"apiVersion": API_VERSION, "kind": EXECUTION_KIND, "metadata": metadata, "spec": wanted}
        try:
            return Execution(await self._kube.create(self._collection, body))
        except AlreadyExists:
            existing = await self.get(name)
        if not _asks_for_the_same(wanted, existing.spec):
            raise Conflict(
                f"{self._namespace}/{name} exists and asks for something else: use a new execution_id or name"
            )
        return existing

    async def get(self, name: str) -> Execution:
        """One Execution as it is now; raises NotFound."""
        return Execution(await self._kube.get(self._path(name)))

    async def list(self, *, labels: str = "", phase: str = "") -> list[Execution]:
        """Executions of the namespace, chosen by a label selector and by phase, oldest first."""
        found: list[Execution] = []
        query = {**_selectors(labels, phase), "limit": "500"}
        while True:
            page = await self._kube.get(self._collection, **query)
            found += [Execution(item) for item in page.get("items") or []]
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return sorted(found, key=lambda execution: str(execution.raw["metadata"].get("creationTimestamp")))
            query["continue"] = token

    async def wait(self, name: str, *, timeout_s: float | None = None) -> Execution:
        """The Execution once it has ended; by a watch, not by asking again and again.

        Raises:
            WaitTimeout: it has not ended within ``timeout_s``; it goes on.
            NotFound, Deleted: it does not exist, or was deleted before its end was seen.
        """
        last: Execution | None = None
        try:
            async with asyncio.timeout(timeout_s), aclosing(self.states(name)) as states:
                async for state in states:
                    last = state
        except TimeoutError:
            raise WaitTimeout(f"{self._namespace}/{name} has not ended within {timeout_s:g} s; it goes on") from None
        assert last is not None
        return last

    async def states(self, name: str) -> AsyncGenerator[Execution, None]:
        """One Execution as it is now, then after each change, until it has ended; that is the last one.

        Raises:
            NotFound, Deleted: it does not exist, or was deleted before its end was seen.
        """
        first = await self.get(name)
        yield first
        if first.finished:
            return
        selector = {"fieldSelector": f"metadata.name={first.name}"}
        async with aclosing(follow(self._kube, self._collection, selector, [first])) as changes:
            async for change in changes:
                if change.execution.uid != first.uid:
                    continue  # deleted and created again under its name: the old one is told as gone
                if change.kind == "GONE":
                    break
                yield change.execution
                if change.execution.finished:
                    return
        raise Deleted(f"{self._namespace}/{first.name} was deleted before it ended")

    async def output(self, name: str, *, follow: bool = True) -> AsyncGenerator[Output, None]:
        """What it prints, as it comes, to its end; without ``follow`` what there is now. Needs the log API.

        Raises:
            NotInstalled: the cluster has no log API; ``wait`` gives what the status keeps.
            Forbidden: the verb ``get`` on ``executions/log`` is missing.
            NotFound, Deleted: it does not exist, or was deleted before its end.
        """
        path = output_path(self._namespace, _checked(name))
        async with aclosing(read_output(self._kube, path, follow=follow)) as outputs:
            async for output in outputs:
                yield output

    def outputs_of(self, execution: Execution) -> Sequence[AsyncStoredOutput]:
        """What the operator's object store has of an Execution that has ended. Asks nobody; reading them does."""
        path = outputs_path(execution.namespace, _checked(execution.name))
        return [
            AsyncStoredOutput(**asdict(found), fetch=make_fetch(self._kube, path, found.name))
            for found in execution.outputs
        ]

    async def cancel(self, name: str) -> Execution:
        """Asks for its end: what runs is killed. What has ended stays as it is; ``wait`` says how it ended."""
        return Execution(await self._kube.merge(self._path(name), {"spec": {"cancel": True}}))

    async def delete(self, name: str) -> None:
        """Deletes it; what runs is killed. One that is gone already is no error."""
        try:
            execution = await self.get(name)
            await self._kube.delete(self._path(name), execution.uid)
        except NotFound:
            return

    async def watch(self, *, labels: str = "", phase: str = "") -> AsyncGenerator[Change, None]:
        """Every Execution that there is, then each change, without end; close the iterator to stop.

        After a broken connection the truth is listed again: a change may come twice, the last one always comes.
        """
        async with aclosing(follow(self._kube, self._collection, _selectors(labels, phase))) as changes:
            async for change in changes:
                yield change

    async def pools(self) -> Sequence[Pool]:
        """All ExecutorPools of the cluster, by name."""
        found = await self._kube.get(_POOLS)
        return sorted((Pool(item) for item in found.get("items") or []), key=lambda pool: pool.name)

    async def pool(self, name: str) -> Pool:
        """One ExecutorPool; raises NotFound."""
        return Pool(await self._kube.get(f"{_POOLS}/{_checked(name)}"))

    @property
    def _kube(self) -> KubeApi:
        if self._api is None:
            raise RuntimeError("the client is not open: use it in a with block")
        return self._api

    @property
    def _collection(self) -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self._namespace}/{EXECUTION_PLURAL}"

    def _path(self, name: str) -> str:
        return f"{self._collection}/{_checked(name)}"


def _checked(name: str) -> str:
    """A name as it may stand in a path."""
    if not _NAME.fullmatch(name):
        raise InvalidExecution(f"{name!r} is not a name: use lower case letters, digits, '-' and '.'")
    return name


def _to_kube(spec: ExecutionSpec) -> Body:
    """An event that is null, or holds nulls, is kept: leaving it out would mean another event."""
    body = spec.to_kube()
    if spec.event_given:
        body["event"] = spec.event
    return body


def _asks_for_the_same(wanted: Mapping[str, Any], existing: Mapping[str, Any]) -> bool:
    names = (wanted.keys() | existing.keys()) - {"cancel"}
    return all(wanted.get(name, _DEFAULTS.get(name)) == existing.get(name, _DEFAULTS.get(name)) for name in names)


def _selectors(labels: str, phase: str) -> dict[str, str]:
    chosen = {"labelSelector": labels, "fieldSelector": f"status.phase={phase}" if phase else ""}
    return {name: value for name, value in chosen.items() if value}
