"""Lists and watches until something is seen: what a Kubernetes informer does, without a cache.

A watch may end, break, fall silent or be too old at any moment; then the truth is listed again. Nothing is missed:
what happened meanwhile stands in the list, and what was deleted is missing there.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Any, Final

from sandbox_executor_client.errors import Unavailable
from sandbox_executor_client.execution import Change, Execution
from sandbox_executor_client.kube import Gone, KubeApi

SILENCE_S: Final = 60.0
"""A watch request lasts as long, and is then made anew."""
_PAGE_SIZE: Final = "500"
_PAUSE_S: Final = (0.1, 0.3, 1.0, 3.0, 10.0)


async def follow(
    api: KubeApi, path: str, selectors: Mapping[str, str], seen: Iterable[Execution] = ()
) -> AsyncGenerator[Change, None]:
    """Every Execution that the selectors choose: first those that exist, then each change, until closed.

    What the caller has ``seen`` already is told only when it has changed since, or is gone.

    A change may be told twice, an earlier state may be skipped, the last one is always told. An Execution that leaves
    the selectors is told as gone.

    Raises:
        Unavailable: the API server has not answered for about a minute.
        Forbidden, NotFound: it refuses.
    """
    known = {execution.uid: execution for execution in seen}
    failures = 0
    while True:
        try:
            changes, version = await _list(api, path, selectors, known)
        except Unavailable:
            if failures >= len(_PAUSE_S):
                raise
            await _pause(failures)
            failures += 1
            continue
        for change in changes:
            yield change
        try:
            async for event in _watch(api, path, version, selectors):
                failures = 0
                yield _apply(event, known)
        except (Gone, Unavailable):
            await _pause(failures)
            failures = min(failures + 1, len(_PAUSE_S) - 1)  # as long as lists work, nothing is lost


async def _pause(failures: int) -> None:
    await asyncio.sleep(_PAUSE_S[failures])


async def _list(
    api: KubeApi, path: str, selectors: Mapping[str, str], known: dict[str, Execution]
) -> tuple[list[Change], str]:
    """What is different from ``known``, which is brought up to date, and the version from which to watch."""
    found: dict[str, Execution] = {}
    query = {**selectors, "limit": _PAGE_SIZE}
    while True:
        page = await api.get(path, **query)
        for item in page.get("items") or []:
            execution = Execution(item)
            found[execution.uid] = execution
        metadata = page.get("metadata") or {}
        if not metadata.get("continue"):
            break
        query["continue"] = metadata["continue"]
    gone = [Change("GONE", known[uid]) for uid in known.keys() - found.keys()]
    new = [
        Change("PRESENT", execution)
        for uid, execution in found.items()
        if uid not in known or known[uid].resource_version != execution.resource_version
    ]
    known.clear()
    known.update(found)
    return [*gone, *new], str(metadata.get("resourceVersion", ""))


async def _watch(
    api: KubeApi, path: str, version: str, selectors: Mapping[str, str]
) -> AsyncIterator[Mapping[str, Any]]:
    """Events of watch requests one after the other, each from where the last one ended."""
    while True:
        async for event in api.watch(path, version, SILENCE_S, **selectors):
            version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                yield event


def _apply(event: Mapping[str, Any], known: dict[str, Execution]) -> Change:
    execution = Execution(event["object"])
    if event["type"] == "DELETED":
        known.pop(execution.uid, None)
        return Change("GONE", execution)
    known[execution.uid] = execution
    return Change("PRESENT", execution)
