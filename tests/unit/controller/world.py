"""The controller's parts, put together as the application does, around fakes that the test holds in its hands."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from contracts.executor_api import ExecutionRequest, ExecutionState, Health
from controller.collaborators import Collaborators
from controller.deadlines import Deadlines
from controller.errors import ExecutorFenced, KubeConflict, KubeNotFound
from controller.events import EventRecorder
from controller.inquiry import Inquiry
from controller.metrics import Metrics
from controller.namespaces import NamespaceGate
from controller.notices import Notices
from controller.orphans import Orphans
from controller.pipeline import Pipeline
from controller.recovery import Recovery
from controller.report_tokens import ReportTokens
from controller.reports import Reports
from controller.resources import Execution
from controller.tracing import Tracer
from controller.writer import StatusWriter
from tests.unit.controller.builders import NOW, make_execution, make_pod, make_pool

EPOCH = 7


class FakeKube:
    """Takes every status and remembers it by the object's name."""

    def __init__(self) -> None:
        self.phases: dict[str, list[str]] = {}
        self.status: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.version = 100
        self.conflicts = 0
        """So many writes find that the object has changed."""

    async def get(self, path: str) -> dict[str, Any]:
        if path not in self.objects:
            raise KubeNotFound(404, "NotFound", path)
        return self.objects[path]

    async def list_pages(self, path: str, **_: str) -> AsyncIterator[list[dict[str, Any]]]:
        yield self.lists.get(path.rpartition("/")[2], [])

    async def replace_status(self, path: str, body: dict[str, Any]) -> str:
        name = body["metadata"]["name"]
        if self.conflicts:
            self.conflicts -= 1
            raise KubeConflict(409, "Conflict", path)
        self.status[name] = body["status"]
        self.phases.setdefault(name, []).append(body["status"]["phase"])
        self.version += 1
        return str(self.version)

    def reason(self, name: str, kind: str) -> str:
        """The reason of one of its conditions."""
        return str(next(item["reason"] for item in self.status[name]["conditions"] if item["type"] == kind))


class FakeExecutors:
    """Takes every execution; ``answer`` is what it says when it is asked, ``refusals`` what it says to dispatches."""

    def __init__(self) -> None:
        self.requests: list[ExecutionRequest] = []
        self.runs: list[str] = []
        self.attempts: list[int] = []
        self.traces: list[str] = []
        self.run_id = "a" * 32
        self.cancelled: list[str] = []
        self.buried: list[str] = []
        self.active: list[ExecutionState] = []
        self.refusals: list[Exception | Callable[[], Exception]] = []
        self.answer: ExecutionState | None | Exception = None
        self.health: Exception | None = None

    async def execute(
        self,
        url: str,
        request: ExecutionRequest,
        attempt: int,
        run_id: str = "",
        *,
        owner: str = "",
        traceparent: str = "",
    ) -> None:
        self.runs.append(run_id)
        self.traces.append(traceparent)
        self.attempts.append(attempt)
        if self.refusals:
            refusal = self.refusals.pop(0)
            raise refusal if isinstance(refusal, Exception) else refusal()
        if run_id != self.run_id:
            raise ExecutorFenced("an earlier run", other_run=True)
        self.requests.append(request)

    async def ask(self, url: str, execution_id: str) -> ExecutionState | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def bury(self, url: str, execution_id: str, attempt: int, run_id: str = "") -> ExecutionState | None:
        if run_id not in ("", self.run_id):
            raise ExecutorFenced("an earlier run", other_run=True)
        state = await self.ask(url, execution_id)
        if state is None:
            self.buried.append(execution_id)
        return state

    async def cancel(self, url: str, execution_id: str, attempt: int) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.cancelled.append(execution_id)
        return self.answer is not None

    async def list_active(self, url: str) -> list[ExecutionState]:
        return self.active

    async def read_health(self, url: str) -> Health | None:
        if self.health is not None:
            raise self.health
        return Health(version="0", uptime_seconds=1, active_executions=0, isolation="full", run_id=self.run_id)


class World:
    """All of it, put together as the application does."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.time = NOW
        self.kube, self.executors, self.metrics = FakeKube(), FakeExecutors(), Metrics()
        metrics = self.metrics
        kube: Any = self.kube
        executors: Any = self.executors
        tokens = ReportTokens(b"key")
        self.pipeline = Pipeline(
            Collaborators(
                kube=kube,
                executors=executors,
                writer=StatusWriter(kube),
                tokens=tokens,
                events=EventRecorder(kube, metrics, self.now),
                metrics=metrics,
                namespaces=NamespaceGate(kube),
                notices=Notices(kube, "system"),
                secret_namespaces=frozenset(),
                now=self.now,
                tracer=tracer,
            )
        )
        inquiry = Inquiry(self.pipeline, kube, executors, "system", self.now)
        self.recovery = Recovery(self.pipeline, kube, inquiry, "system", self.now)
        self.deadlines = Deadlines(self.pipeline, inquiry, self.now)
        self.orphans = Orphans(self.pipeline, kube, executors, lambda: EPOCH)
        self.reports = Reports(self.pipeline, tokens, self.now)

    def now(self) -> datetime:
        return self.time

    async def settle(self) -> None:
        """Lets every step go as far as it can without waiting."""
        for _ in range(50):
            await asyncio.sleep(0)

    def add_pod(self) -> None:
        """The only pod, with one slot."""
        self.pipeline.see_pool(make_pool(concurrency=1))
        self.recovery.see_pod(make_pod())

    def check_times(self) -> None:
        """What happens twice a second."""
        self.deadlines.check_times()

    async def start_one(self, **spec: Any) -> Execution:
        """An Execution that runs on the only pod, which has one slot."""
        execution = await self.send_one(**spec)
        assert self.kube.phases["one"] == ["Running"]
        return execution

    async def send_one(self, **spec: Any) -> Execution:
        """An Execution that is sent to the only pod."""
        self.add_pod()
        execution = make_execution(**spec)
        self.pipeline.see(execution)
        await self.settle()
        return execution
