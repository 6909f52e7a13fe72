"""Objects of one kind, created and watched as a user does: when was each seen to have reached its end?

One watch stands open all the time, for each kind alike, so that no figure holds the start of a watch.
"""

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from contracts.kube import API_VERSION, EXECUTION_KIND
from controller.watches import open_session

Object = dict[str, Any]
Test = Callable[[Object], bool]
END_TIMEOUT_S = 60.0
_CREATED_AT_A_TIME = 16
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_numbers = itertools.count()
_run = secrets.token_hex(3)


def has_ended(thing: Object) -> bool:
    """Whether an Execution, or a Job, has ended.

    Raises:
        RuntimeError: not well.
    """
    conditions = {item["type"]: item for item in (thing.get("status") or {}).get("conditions") or ()}
    true = {name for name, item in conditions.items() if item["status"] == "True"}
    if "Failed" in true or ("Finished" in true and "Succeeded" not in true):
        raise RuntimeError(f"{thing['metadata']['name']} has not ended well: {conditions}")
    return bool(true & {"Succeeded", "Complete"})


def is_placed(thing: Object) -> bool:
    """Whether an Execution has been given to an executor."""
    return (thing.get("status") or {}).get("startTime") is not None


def make_name(kind: str) -> str:
    """One that no other object of this run, or of an earlier one, has."""
    return f"{kind}-{_run}-{next(_numbers):06d}"


def make_spec(**spec: Any) -> Object:
    """Of an Execution that prints a line."""
    return {"language": "python", "code": "def handler(event):\n    print('hello')\n", **spec}


def make_execution(**spec: Any) -> Object:
    """An Execution of this spec."""
    metadata = {"name": make_name("run")}
    return {"apiVersion": API_VERSION, "kind": EXECUTION_KIND, "metadata": metadata, "spec": make_spec(**spec)}


@dataclass(frozen=True)
class Api:
    """An API server and a session that may talk to it."""

    url: str
    session: aiohttp.ClientSession


@asynccontextmanager
async def open_api(kubeconfig: Path | None = None) -> AsyncIterator[Api]:
    """The API server of a kubeconfig, by default the one that KUBECONFIG names."""
    configuration = Configuration()
    file = str(kubeconfig) if kubeconfig is not None else None
    await load_kube_config(config_file=file, client_configuration=configuration)
    session = (await open_session(configuration)).aiohttp_session
    async with session:
        yield Api(configuration.host, session)


class Collection:
    """The objects below a path, an async context manager; ``reached`` says what is waited for."""

    def __init__(self, api: Api, path: str, reached: Test = has_ended) -> None:
        self._session, self._path, self._reached = api.session, api.url + path, reached
        self._seen: dict[str, asyncio.Future[float]] = {}

    async def __aenter__(self) -> "Collection":
        listed = await self.call("GET", params={"limit": "1"})
        version = listed["metadata"]["resourceVersion"]
        self._watching = asyncio.create_task(self._watch(version))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    async def call(self, method: str, name: str = "", body: Object | None = None, **options: Any) -> Object:
        """One request below the path; raises where it is refused."""
        url = f"{self._path}/{name}" if name else self._path
        async with self._session.request(method, url, json=body, **options) as answer:
            if answer.status >= 300:
                raise RuntimeError(f"{method} {url}: {answer.status} {(await answer.text())[:500]}")
            found: Object = await answer.json()
            return found

    async def create(self, body: Object) -> None:
        """Creates one, and nothing more."""
        await self.call("POST", body=body)

    async def create_all(self, bodies: Sequence[Object]) -> None:
        """Creates many, some at a time, in about this order."""
        waiting = iter(bodies)

        async def work() -> None:
            for body in waiting:
                await self.create(body)

        await asyncio.gather(*(work() for _ in range(_CREATED_AT_A_TIME)))

    def expect(self, name: str) -> asyncio.Future[float]:
        """When the watch has shown it where it is waited for (``time.perf_counter``); to be asked before it is made."""
        return self._seen.setdefault(name, asyncio.get_running_loop().create_future())

    async def time_one(self, body: Object) -> float:
        """Milliseconds from the call that creates it to the event that shows its end."""
        seen = self.expect(body["metadata"]["name"])
        begun = time.perf_counter()
        await self.create(body)
        return (await self.wait(seen) - begun) * 1000

    async def time_burst(self, bodies: Sequence[Object], timeout_s: float = END_TIMEOUT_S) -> float:
        """Seconds from the first call to the event that shows the last end."""
        seen = [self.expect(body["metadata"]["name"]) for body in bodies]
        begun = time.perf_counter()
        await self.create_all(bodies)
        return max([await self.wait(each, timeout_s) for each in seen]) - begun

    async def remove_all(self, **options: Any) -> None:
        """Deletes whatever is there, and what it owns; ``options`` are of the API's DeleteOptions."""
        await self.call("DELETE", body={"propagationPolicy": "Background", **options})
        while (await self.call("GET", params={"limit": "1"}))["items"]:  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.2)

    async def wait(self, seen: asyncio.Future[float], timeout_s: float = END_TIMEOUT_S) -> float:
        """What ``expect`` gave, once it is there; raises when that takes too long, or the watch ends."""
        both: set[asyncio.Future[Any]] = {seen, self._watching}
        done, _ = await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._watching in done:
            self._watching.result()
        if seen not in done:
            raise TimeoutError(f"something below {self._path} has not ended in {timeout_s:.0f} s")
        return seen.result()

    async def _watch(self, version: str) -> None:
        """From a version on, and from the last one seen when the API server ends it, as it does with slow watchers."""
        while True:
            rest = b""
            params = {"watch": "1", "resourceVersion": version}
            async with self._session.get(self._path, params=params, timeout=_NO_TIMEOUT) as answer:
                answer.raise_for_status()
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        version = self._see(json.loads(line))

    def _see(self, event: Object) -> str:
        """Notes what an event shows; its resource version."""
        at, thing = time.perf_counter(), event["object"]
        if event["type"] == "ERROR":
            raise RuntimeError(f"the watch of {self._path}: {thing}")
        version: str = thing["metadata"]["resourceVersion"]
        future = self._seen.get(thing["metadata"]["name"])
        if future is None or future.done() or event["type"] == "DELETED":
            return version
        try:
            if self._reached(thing):
                future.set_result(at)
        except RuntimeError as error:
            future.set_exception(error)
        return version
