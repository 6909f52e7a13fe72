"""A result, the options that make a spec, and a pool, as values."""

import pytest

from sandbox_executor_client import (
    Execution,
    ExecutionFailed,
    InvalidExecution,
    Metrics,
    NotFound,
    Pool,
    Result,
    SecretKeyRef,
)
from sandbox_executor_client.options import RunOptions, make_spec

METADATA = {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1"}


def ended(phase: str, reason: str, **status: object) -> Execution:
    conditions = [{"type": "Finished", "reason": reason, "message": "said"}]
    return Execution({"metadata": METADATA, "spec": {}, "status": {"phase": phase, "conditions": conditions, **status}})


def test_a_result_has_all_that_a_status_says() -> None:
    metrics = {"durationMs": 1.5, "cpuTimeMs": 1, "peakMemoryMB": 2.5, "ioReadBytes": 3, "ioWriteBytes": 4}
    result = Result.of(ended("Failed", "NonZeroExit", exitCode=3, stdout="o", stderrTruncated=True, metrics=metrics))
    assert (result.exit_code, result.stdout, result.truncated, result.message) == (3, "o", True, "said")
    assert result.metrics == Metrics(1.5, 1.0, 2.5, 3, 4)
    assert not result.succeeded


def test_check_passes_what_succeeded_and_raises_for_all_else() -> None:
    good = Result.of(ended("Succeeded", "Completed"))
    assert good.check() is good
    error = {"errorCode": "Controller.OverPoolLimit", "description": "d", "requestId": "r1"}
    with pytest.raises(ExecutionFailed, match=r"n/x Rejected \(OverPoolLimit\): said") as raised:
        Result.of(ended("Rejected", "OverPoolLimit", error=error)).check()
    assert (raised.value.code, raised.value.request_id) == ("Controller.OverPoolLimit", "r1")
    with pytest.raises(ExecutionFailed) as raised:
        Result.of(ended("Failed", "NonZeroExit")).check()
    assert (raised.value.code, raised.value.request_id) == ("NonZeroExit", "")


def test_an_error_without_an_answer_has_its_kind_as_code() -> None:
    assert (NotFound("x").code, NotFound("x").request_id) == ("NotFound", "")


def test_options_become_a_spec() -> None:
    env: dict[str, str | SecretKeyRef] = {"A": "a", "S": SecretKeyRef(name="secret", key="k")}
    spec = make_spec("def handler(event): return 1", {"event": None, "timeout": 5, "env": env, "pool": "p"})
    assert (spec.event, spec.event_given, spec.timeout_seconds, spec.pool) == (None, True, 5, "p")
    assert spec.to_kube()["env"] == [
        {"name": "A", "value": "a"},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "k"}}},
    ]
    assert not make_spec("print(1)", {}).event_given


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": 0}, "spec.timeoutSeconds: Input should be greater than or equal to 1"),
        ({"timeout": 1.5}, "spec.timeoutSeconds: Input should be a valid integer"),
        ({"env": {"1": "x"}}, "spec.env.0.name: String should match"),
        ({"execution_id": "x"}, "for example exec_20260115_a1b2c3d4"),
        ({"language": "ruby"}, "spec.language: Input should be 'python', 'javascript' or 'shell'"),
    ],
)
def test_bad_options_are_refused_with_what_to_write(options: RunOptions, says: str) -> None:
    with pytest.raises(InvalidExecution, match=says):
        make_spec("print(1)", options)


def test_a_pool_says_what_it_has_and_what_is_wrong() -> None:
    new = Pool({"metadata": {"name": "new"}, "spec": {}})
    assert (new.name, new.replicas, new.ready, new.available, new.message) == ("new", 1, 0, None, "")
    conditions = [
        {"type": "Available", "status": "False", "message": "no pod is ready"},
        {"type": "Degraded", "status": "True", "message": "the image cannot be pulled"},
    ]
    counts = {"readyReplicas": 1, "busySlots": 2, "freeSlots": 3, "queued": 4}
    pool = Pool({"metadata": {"name": "p"}, "spec": {"replicas": 5}, "status": {**counts, "conditions": conditions}})
    assert (pool.replicas, pool.ready, pool.busy, pool.free, pool.queued) == (5, 1, 2, 3, 4)
    assert (pool.available, pool.message) == (False, "the image cannot be pulled")
