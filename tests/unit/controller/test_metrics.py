"""What is counted is shown, and no label grows without a bound."""

import tomllib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from controller import VERSION
from controller.metrics import Metrics
from controller.placement import PoolCount
from controller.resources import Execution
from tests.unit.controller.builders import NOW, make_execution
from tests.unit.controller.world import World

PREFIX = "sandbox_controller_"


def read(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(PREFIX + name, labels)


def ended(namespace: str = "default", phase: str = "Succeeded", **status: Any) -> Execution:
    return replace(make_execution(status={"phase": phase, **status}), namespace=namespace)


def test_ends_are_counted_by_namespace_language_and_result() -> None:
    metrics = Metrics()
    metrics.observe_end(ended("team-a"))
    metrics.observe_end(ended("team-a"))
    metrics.observe_end(ended("team-b", "Crashed"))
    assert read(metrics, "executions_total", namespace="team-a", language="python", result="Succeeded") == 2
    assert read(metrics, "executions_total", namespace="team-b", language="python", result="Crashed") == 1
    assert read(metrics, "executions_total", namespace="team-a", language="python", result="Crashed") == 0


def test_namespaces_beyond_the_bound_are_counted_together() -> None:
    metrics = Metrics(namespaces=2)
    for number in [0, 1, 2, 3, 0]:
        metrics.observe_end(ended(f"team-{number}"))
    labels = {"language": "python", "result": "Succeeded"}
    assert read(metrics, "executions_total", namespace="team-0", **labels) == 2
    assert read(metrics, "executions_total", namespace="team-1", **labels) == 1
    assert read(metrics, "executions_total", namespace="team-2", **labels) is None
    assert read(metrics, "executions_total", namespace="other", **labels) == 2


def test_with_no_room_no_namespace_is_named() -> None:
    metrics = Metrics(namespaces=0)
    metrics.observe_end(ended("secret-project"))
    assert b"secret-project" not in metrics.render()


def test_durations_have_buckets_from_five_milliseconds() -> None:
    metrics = Metrics()
    end = NOW + timedelta(milliseconds=4)
    metrics.observe_end(ended(startTime=NOW.isoformat(), completionTime=end.isoformat()))
    metrics.observe_claim(NOW, NOW + timedelta(milliseconds=7))
    assert read(metrics, "execution_duration_seconds_bucket", language="python", le="0.005") == 1
    assert read(metrics, "execution_wait_seconds_bucket", le="0.005") == 0
    assert read(metrics, "execution_wait_seconds_bucket", le="0.01") == 1


def test_what_is_cut_is_counted_by_stream() -> None:
    metrics = Metrics()
    metrics.observe_end(ended(stdoutTruncated=True, stderrTruncated=False, returnValueTruncated=True))
    counted = [read(metrics, "truncations_total", stream=stream) for stream in ("stdout", "stderr", "return_value")]
    assert counted == [1, 0, 1]


def test_a_deleted_pool_is_shown_no_more() -> None:
    metrics = Metrics()
    metrics.show_pool("big", PoolCount(busy=3, free=1, queued=7), queue_limit=50)
    assert read(metrics, "pool_slots", pool="big", state="busy") == 3
    assert read(metrics, "pool_slots", pool="big", state="free") == 1
    assert read(metrics, "pool_queued", pool="big") == 7
    assert read(metrics, "pool_queue_limit", pool="big") == 50
    metrics.forget_pool("big")
    metrics.forget_pool("never-there")
    assert b'pool="big"' not in metrics.render()


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    assert read(Metrics(), "build_info", version=VERSION) == 1


async def test_the_wait_of_an_execution_is_measured_when_it_is_claimed() -> None:
    world = World()
    await world.start_one()
    assert read(world.metrics, "execution_wait_seconds_count") == 1
    assert read(world.metrics, "executions_seen_total") == 1


async def test_the_loss_of_an_attempt_that_is_followed_by_another_is_counted() -> None:
    world = World()
    execution = await world.start_one(maxRetries=1)
    tracked = world.pipeline.registry.get(execution.uid)
    assert tracked is not None
    await world.pipeline.crash(tracked, "ExecutorLost", "gone")
    await world.settle()
    assert read(world.metrics, "execution_retries_total") == 1


async def test_whoever_looks_at_pools_is_told_that_one_is_gone() -> None:
    world, told = World(), list[str]()
    world.add_pod()
    world.pipeline.changed = told.append
    world.pipeline.lose_pool("default")
    assert told == ["default"]
