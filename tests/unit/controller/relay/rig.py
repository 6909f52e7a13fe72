"""The relay with a clock, an API server and a Control Plane that the test holds in its hands."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from contracts.control_plane_retry import Outcome, judge_status
from controller import names, reported
from controller.clients.control_plane import Answer, Call
from controller.clients.kube import Row
from controller.collaborators import Collaborators
from controller.conditions import find_condition
from controller.errors import KubeConflict, KubeNotFound
from controller.events import EventRecorder
from controller.metrics import Metrics
from controller.namespaces import NamespaceGate
from controller.notices import Notices
from controller.pipeline import Pipeline
from controller.relay.clock import Clock
from controller.relay.relay import Parts, Relay
from controller.report_tokens import ReportTokens
from controller.resources import Execution, parse_execution
from controller.status import REPORTED, advance
from controller.writer import StatusWriter
from tests.unit.controller.builders import make_execution
from tests.unit.executor_runtime.fake_time import FakeTime, settle

HANG = "hang"
Said = int | str


class FakeKube:
    """Objects by path, each status write counted; ``down`` makes every call fail."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: dict[str, int] = {}
        self.version = 100
        self.trouble: Exception | None = None

    def put(self, execution: Execution) -> None:
        self.objects[names.execution_path(execution.namespace, execution.name)] = _to_body(execution)

    def condition(self, name: str, kind: str = REPORTED) -> tuple[str, str, str]:
        """Its status, reason and message; empty words when there is none."""
        body = self.objects[names.execution_path("tenant", name)]
        found = find_condition(parse_execution(body).status.conditions, kind)
        return (found.status, found.reason, found.message) if found else ("", "", "")

    async def get(self, path: str) -> dict[str, Any]:
        self._check()
        if path not in self.objects:
            raise KubeNotFound(404, "NotFound", path)
        return self.objects[path]

    async def replace_status(self, path: str, body: dict[str, Any]) -> str:
        self._check()
        known = self.objects.get(path)
        if known is None:
            raise KubeNotFound(404, "NotFound", path)
        if known["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise KubeConflict(409, "Conflict", path)
        self.version += 1
        metadata = {**known["metadata"], "resourceVersion": str(self.version)}
        self.objects[path] = {**known, "metadata": metadata, "status": json.loads(json.dumps(body["status"]))}
        self.writes[known["metadata"]["name"]] = self.writes.get(known["metadata"]["name"], 0) + 1
        return str(self.version)

    async def list_rows(self, _path: str) -> AsyncIterator[list[Row]]:
        self._check()
        yield [_to_row(body) for body in self.objects.values()]

    async def list_pages(self, _path: str, **params: str) -> AsyncIterator[list[dict[str, Any]]]:
        self._check()
        field_name, _, wanted = params["fieldSelector"].partition("=")
        part, name = field_name.split(".")
        yield [body for body in self.objects.values() if (body.get(part) or {}).get(name) == wanted]

    def _check(self) -> None:
        if self.trouble is not None:
            raise self.trouble


def _to_body(execution: Execution) -> dict[str, Any]:
    return {
        "metadata": {
            "name": execution.name,
            "namespace": execution.namespace,
            "uid": execution.uid,
            "resourceVersion": execution.resource_version,
            "generation": execution.generation,
            "creationTimestamp": execution.created.isoformat(),
        },
        "spec": execution.spec.to_kube(),
        "status": execution.status.to_kube(),
    }


def _to_row(body: dict[str, Any]) -> Row:
    status = parse_execution(body).status
    cells = {
        "Phase": status.phase,
        "Pod": status.pod_name,
        "Execution-ID": status.execution_id,
        "Reported": reported.reason_of(status) or None,
    }
    metadata = body["metadata"]
    return Row(metadata["namespace"], metadata["name"], metadata["uid"], cells)


class FakeClient:
    """Answers each call as programmed, then with ``always``; takes results as a Control Plane does (201, 200, 409)."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.program: list[Said] = []
        self.always: Said = 0
        self.under_way = 0
        self.most_under_way = 0
        self.known: dict[str, bytes] = {}
        self.released = asyncio.Event()

    async def post(self, call: Call) -> Answer:
        self.calls.append(call)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            said = self.program.pop(0) if self.program else self.always
            if said == HANG:
                await self.released.wait()
                said = 0
            if isinstance(said, str):
                return Answer(Outcome.UNREACHABLE, said)
            status = said or self._take(call)
            return Answer(judge_status(status), f"HTTP {status}", status)
        finally:
            self.under_way -= 1

    def _take(self, call: Call) -> int:
        if not call.path.endswith("/result"):
            return 204
        if call.path not in self.known:
            self.known[call.path] = call.body
            return 201
        return 200 if self.known[call.path] == call.body else 409

    async def close(self) -> None:
        """Nothing is open."""

    def results(self) -> list[dict[str, Any]]:
        """The bodies of all results, in order."""
        return [json.loads(call.body) for call in self.calls if call.path.endswith("/result")]

    def paths(self) -> list[str]:
        """The last word of each path, in order."""
        return [call.path.rsplit("/", 1)[1] for call in self.calls]


@dataclass
class Rig:
    """All of it, put together as the application does."""

    time: FakeTime = field(default_factory=FakeTime)
    kube: FakeKube = field(default_factory=FakeKube)
    client: FakeClient = field(default_factory=FakeClient)
    metrics: Metrics = field(default_factory=Metrics)
    running: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        kube: Any = self.kube
        client: Any = self.client
        self.writer = StatusWriter(kube, relays=True)
        self.pipeline = Pipeline(
            Collaborators(
                kube=kube,
                executors=None,  # type: ignore[arg-type]
                writer=self.writer,
                tokens=ReportTokens(b"key"),
                events=EventRecorder(kube, self.metrics, self.time.now),
                metrics=self.metrics,
                namespaces=NamespaceGate(kube),
                notices=Notices(kube, "system"),
                secret_namespaces=frozenset(),
                now=self.time.now,
            )
        )
        clock = Clock(self.time.now, lambda: self.time.seconds, self.time.clock.sleep)
        self.relay = Relay(Parts(client, kube, self.writer, self.pipeline, self.metrics, clock))
        self.settled: list[str] = []
        self.relay.results.settled = lambda execution: self.settled.append(execution.name)

    async def start(self) -> None:
        """Runs the relay."""
        self.running = asyncio.create_task(self.relay.run())
        await settle()

    async def stop(self) -> None:
        """Ends it, as a controller that is killed; the API server and the Control Plane stay."""
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
        await self.pipeline.close(0)

    def restart(self) -> "Rig":
        """Another controller on the same API server and Control Plane."""
        return Rig(self.time, self.kube, self.client)

    def end(self, name: str = "one", **status: Any) -> Execution:
        """An Execution that has ended just now, as the writer leaves it."""
        return self.end_as(make_ended(name, **status), tell=True)

    def end_as(self, execution: Execution, *, tell: bool) -> Execution:
        """Stores one; ``tell``: the pipeline says so."""
        self.kube.put(execution)
        if tell:
            self.relay.take(execution)
        return execution

    async def until(self, reached: Callable[[], bool], within_s: float) -> None:
        """Lets the time pass until something is reached."""
        end = self.time.seconds + within_s
        while not reached():
            if self.time.seconds >= end:
                raise AssertionError(f"not reached within {within_s} s")
            await self.time.advance(0.5)

    def gauge(self, name: str, **labels: str) -> float:
        """A metric as it is now."""
        value = self.metrics.registry.get_sample_value(f"sandbox_controller_relay_{name}", labels)
        assert value is not None
        return value


def make_ended(name: str = "one", **status: Any) -> Execution:
    """A succeeded Execution whose end is marked as still to be told; further fields of its status by keyword."""
    number = f"{sum(name.encode()) * 7919 % 10**8:08d}" if not name.isdigit() else f"{int(name):08d}"
    fields: dict[str, Any] = {
        "phase": "Succeeded",
        "executionId": f"exec_20260115_{number}",
        "attempt": 1,
        "podName": "pod-1",
        "startTime": "2026-01-15T12:00:30Z",
        "completionTime": "2026-01-15T12:00:31Z",
        "exitCode": 0,
        "stdout": "hello\n",
        "stdoutBytes": 6,
        "metrics": {"durationMs": 12.5},
        "conditions": [
            {
                "type": "Finished",
                "status": "True",
                "reason": "Completed",
                "message": "the code ended with exit code 0",
                "lastTransitionTime": "2026-01-15T12:00:31Z",
            }
        ],
        **status,
    }
    execution = make_execution(name, status={key: value for key, value in fields.items() if value is not None})
    fact = reported.begin(execution.status, execution.created)
    after = advance(execution.status, fact, execution.generation)
    assert after is not None
    return replace(execution, status=after)
