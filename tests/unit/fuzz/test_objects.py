"""Objects that any tenant may store: each is read, judged and answered, and keeps the controller from no other."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.executor_api import ExecutionLimits, ExecutionRequest
from contracts.ids import EXECUTION_ID_PATTERN
from contracts.kube import DNS_NAME_PATTERN
from controller import names
from controller.admission import Accepted, PoolNotFound, Rejected, admit
from controller.errors import KubeNotFound
from controller.inputs import Grant, make_request
from controller.pools import build_deployment
from controller.resources import Execution, Pool, parse_execution, parse_pod
from controller.unreadable import parse_or_refuse
from tests.unit.controller.builders import NOW, make_pool, make_settings
from tests.unit.controller.world import World
from tests.unit.fuzz import crd
from tests.unit.fuzz.kubernetes import assert_storable
from tests.unit.fuzz.profile import fuzzed
from tests.unit.fuzz.strategies import outcome_of, plain_text, with_part

POOLS: list[Pool | None] = [
    None,
    make_pool(),
    make_pool(limits={"timeoutSeconds": 10, "memory": "64Mi", "processes": 4}),
    make_pool(defaults={"resources": {"memory": "1k", "cpuSeconds": 1}}),
]


class Writes:
    """What was written to the API server; it has nothing else."""

    def __init__(self) -> None:
        self.statuses: list[dict[str, Any]] = []

    async def merge_status(self, path: str, status: dict[str, Any], *_: object) -> None:
        self.statuses.append(status)

    async def get(self, path: str) -> dict[str, Any]:
        raise KubeNotFound(404, "NotFound", path)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as found:
        yield found


def read(body: dict[str, Any]) -> Execution | ValidationError:
    found: Execution | ValidationError = outcome_of(lambda: parse_execution(body), ValidationError)
    return found


@fuzzed
@given(crd.executions)
def test_an_execution_is_read_or_rejected_with_a_word(runner: asyncio.Runner, body: dict[str, Any]) -> None:
    found, kube = read(body), Writes()
    again = runner.run(parse_or_refuse(body, kube, NOW))  # type: ignore[arg-type]
    if isinstance(found, Execution):
        assert again == found
        assert not kube.statuses
        assert re.fullmatch(EXECUTION_ID_PATTERN, found.execution_id) or found.status.execution_id is not None
        assert sorted([found, found], key=lambda execution: execution.order)
        return
    assert again is None
    for status in kube.statuses:
        assert_storable(status)
        assert status["phase"] == "Rejected"
        assert len(status["error"]["description"]) < 2000
        assert status["error"]["solution"]
    assert kube.statuses or body.get("status", {}).get("phase") == "Running"


@fuzzed
@given(crd.executions, st.sampled_from(POOLS))
def test_what_is_read_is_judged_and_asked_for(runner: asyncio.Runner, body: dict[str, Any], pool: Pool | None) -> None:
    execution = read(body)
    if not isinstance(execution, Execution):
        return
    verdict = admit(execution, pool, frozenset({"tenant"}))
    if isinstance(verdict, Rejected):
        assert len(verdict.message) < 2000
        assert verdict.solution
    assert isinstance(verdict, Accepted | Rejected | PoolNotFound)
    limits = verdict.limits if isinstance(verdict, Accepted) else ExecutionLimits()
    request = runner.run(make_request(execution, Grant("t" * 64, limits), Writes()))
    assert isinstance(request, ExecutionRequest | Rejected)
    if isinstance(request, ExecutionRequest):
        sent = json.dumps(
            request.model_dump(mode="json", exclude={"report_token"}), ensure_ascii=False, allow_nan=False
        )
        assert ExecutionRequest.model_validate(json.loads(sent)).code == request.code
    else:
        assert len(request.message) < 2000


@fuzzed
@given(st.lists(crd.executions, min_size=1, max_size=3))
def test_no_step_of_the_pipeline_fails_and_an_honest_one_runs(
    runner: asyncio.Runner, bodies: list[dict[str, Any]]
) -> None:
    async def see_all() -> World:
        world = World()
        world.add_pod()
        for number, body in enumerate(bodies):
            body = {**body, "metadata": {**body["metadata"], "name": f"fuzzed-{number}"}}
            body.pop("status", None)
            if isinstance(execution := read(body), Execution):
                world.pipeline.see(execution)
                await world.settle()
                world.pipeline.lose(execution.uid)
                await world.settle()
        await world.start_one()
        await world.pipeline.close(0)
        return world

    world = runner.run(see_all())
    assert world.pipeline._with.metrics.failures._value.get() == 0
    for status in world.kube.status.values():
        assert_storable(status)


@fuzzed
@given(st.from_regex(re.compile(DNS_NAME_PATTERN, re.ASCII), fullmatch=True).map(lambda name: name[:253].rstrip("-.")))
def test_names_made_from_a_pools_name_are_names(pool: str) -> None:
    if not re.fullmatch(DNS_NAME_PATTERN, pool):
        return
    label = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
    assert all(label.fullmatch(value) for value in names.pod_labels(pool).values())
    manifest = build_deployment(make_pool(pool), make_settings())
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", f"{manifest['metadata']['name']}-0123456789-abcde")
    json.dumps(manifest, allow_nan=False)


POD = {
    "metadata": {"name": "p", "uid": "u", "labels": {names.POOL_LABEL: "default"}, "annotations": {"a": "b"}},
    "spec": {"nodeName": "n", "containers": [{"name": "executor", "ports": [], "env": []}]},
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "reason": "Evicted",
        "message": "m",
        "conditions": [{"type": "Ready", "status": "True", "reason": "r", "message": "m"}],
        "containerStatuses": [
            {
                "name": "executor",
                "restartCount": 1,
                "state": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2026-01-15T12:00:00Z"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "m"}},
            }
        ],
    },
}
_texts = [
    ("status", "message"),
    ("status", "podIP"),
    ("status", "phase"),
    ("status", "conditions", 0, "message"),
    ("status", "containerStatuses", 0, "lastState", "terminated", "message"),
]


@fuzzed
@given(
    st.lists(st.tuples(st.sampled_from(_texts), plain_text), max_size=3),
    st.dictionaries(plain_text, plain_text, max_size=2),
)
def test_a_pod_is_read_whatever_words_it_ended_with(texts: list[Any], annotations: dict[str, str]) -> None:
    """The kubelet writes its fields; what an executor's last words are, is up to what ran in it."""
    body: dict[str, Any] = with_part(POD, ("metadata", "annotations"), annotations)
    for path, text in texts:
        body = with_part(body, path, text)
    pod = parse_pod(body)
    assert pod is not None
    assert pod.restarts == 1
