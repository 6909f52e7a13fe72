"""Who follows an Execution's output: each in a thread of its own, on one connection, which the log API has counted."""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from sandbox_executor_client import AsyncClient
from sandbox_executor_client.kube import KubeApi, load_configuration
from sandbox_executor_client.output import output_path
from tests.e2e.cluster import LOG_API_PODS, SCRIPTS, SYSTEM_NAMESPACE, Tenant, Tools

T = TypeVar("T")
_WAIT_S = 500
_ASKED_AGAIN = "asks an executor again for output"


@dataclass(frozen=True)
class Piece:
    """A part of an answer, and when it came (seconds, monotonic)."""

    data: bytes
    at: float


class Followers:
    """Those of a few tests. ``begun``: how many of them there have been."""

    def __init__(self, tools: Tools, threads: ThreadPoolExecutor) -> None:
        self._tools = tools
        self._threads = threads
        self._before = count_requests(tools)
        self.begun = 0

    @property
    def requests(self) -> int:
        """How many answers the log API has ended since the first of them."""
        return count_requests(self._tools) - self._before

    def follow_with_kubectl(self, tenant: Tenant, name: str) -> Future[str]:
        """What ``kubectl get --raw`` prints."""
        path = f"{output_path(tenant.namespace, name)}?follow=true"
        return self._begin(lambda: self._tools.kubectl("get", "--raw", path, timeout_s=_WAIT_S))

    def follow_with_sandbox_run(self, tenant: Tenant, name: str) -> Future[tuple[int, str, str]]:
        """Exit code, stdout and stderr of ``sandbox-run logs -f``."""
        words = [str(SCRIPTS / "sandbox-run"), "logs", "-f", name, "-n", tenant.namespace]

        def run() -> tuple[int, str, str]:
            done = subprocess.run(words, capture_output=True, text=True, timeout=_WAIT_S, check=False)
            return done.returncode, done.stdout, done.stderr

        return self._begin(run)

    def follow_with_client(self, tenant: Tenant, name: str) -> Future[str]:
        """The text that the Python client gives, which makes a connection anew where it broke."""

        async def read() -> str:
            async with (
                asyncio.timeout(_WAIT_S),
                AsyncClient(tenant.namespace) as client,
                aclosing(client.output(name)) as outputs,
            ):
                return b"".join([output.data async for output in outputs]).decode()

        return self._begin(lambda: asyncio.run(read()))

    def follow_one_answer(self, tenant: Tenant, name: str) -> Future[list[Piece]]:
        """The pieces of one answer with events, comments included; where it breaks off, that is its end."""

        async def read() -> list[Piece]:
            configuration, _ = await load_configuration(None, None)
            api = KubeApi(configuration)
            try:
                async with (
                    asyncio.timeout(_WAIT_S),
                    aclosing(api.stream(output_path(tenant.namespace, name), {"follow": "true"})) as pieces,
                ):
                    return [Piece(piece, time.monotonic()) async for piece in pieces]
            finally:
                await api.close()

        return self._begin(lambda: asyncio.run(read()))

    def _begin(self, follow: Callable[[], T]) -> Future[T]:
        self.begun += 1
        return self._threads.submit(follow)


@contextmanager
def following(tools: Tools) -> Iterator[Followers]:
    """Followers that all have ended when the block has."""
    with ThreadPoolExecutor(max_workers=8) as threads:
        yield Followers(tools, threads)


def count_requests(tools: Tools) -> int:
    """Answers with output that the log API's pods have ended, whatever their code."""
    found = (read_metrics(tools, pod["metadata"]["name"]) for pod in tools.pods(LOG_API_PODS))
    return int(sum(sum_metric(text, "sandbox_log_api_requests_total") for text in found))


def read_metrics(tools: Tools, pod: str) -> str:
    """What Prometheus would read of a pod of the log API."""
    program = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8081/metrics').read().decode())"
    return tools.in_pod(pod, "python3", "-c", program)


def sum_metric(text: str, name: str) -> float:
    """All samples of one metric; 0 when it has none yet."""
    return sum(map(float, re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)))


def count_asked_again(tools: Tools, tenant: Tenant) -> int:
    """How often the log API has said that it asks an executor once more for output of this namespace."""
    words = ("logs", "-n", SYSTEM_NAMESPACE, "-l", LOG_API_PODS, "--tail=-1")
    lines = [json.loads(line) for line in tools.kubectl(*words).splitlines() if _ASKED_AGAIN in line]
    return sum(line.get("namespace") == tenant.namespace for line in lines)
