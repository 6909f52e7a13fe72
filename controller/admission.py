"""Whether an Execution may run, judged from the Execution and its pool alone.

Pure: what needs another read (a ConfigMap, a Secret, the namespace's labels) is done by
``inputs``, after this has said that the read is allowed.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from contracts.execution import ExecutionResources
from contracts.executor_api import ExecutionLimits
from contracts.kube import quantity_bytes
from contracts.pool import PoolLimits
from controller.resources import Execution, Pool


@dataclass(frozen=True, slots=True)
class Accepted:
    """It may run in the pool, with these bounds."""

    limits: ExecutionLimits


@dataclass(frozen=True, slots=True)
class Rejected:
    """It may never run: ``reason`` for programs, the rest for people."""

    reason: str
    message: str
    solution: str


@dataclass(frozen=True, slots=True)
class PoolNotFound:
    """Its pool is not there yet."""

    pool: str

    @property
    def message(self) -> str:
        """For the Scheduled condition."""
        return (
            f"there is no ExecutorPool {self.pool!r}; it runs once the pool is created "
            "(see which there are: kubectl get executorpools)"
        )


Verdict = Accepted | Rejected | PoolNotFound


def admit(execution: Execution, pool: Pool | None, secret_namespaces: frozenset[str]) -> Verdict:
    """The verdict on an Execution as things stand; the namespaces are those where secretKeyRef is allowed."""
    refused = _secrets(execution, secret_namespaces)
    if refused is not None:
        return refused
    if pool is None:
        return PoolNotFound(execution.spec.pool)
    limits = pool.spec.limits or PoolLimits()
    wanted = _with_defaults(execution.spec.resources, pool)
    if limits.timeout_seconds is not None and execution.spec.timeout_seconds > limits.timeout_seconds:
        return _over("timeoutSeconds", execution.spec.timeout_seconds, limits.timeout_seconds, pool)
    return _bounded(wanted, limits, pool)


def _secrets(execution: Execution, allowed: frozenset[str]) -> Rejected | None:
    wanted = [f"spec.env {variable.name}" for variable in execution.spec.env or () if variable.value_from is not None]
    wanted += [f"spec.files {file.path}" for file in execution.spec.files or () if file.secret_key_ref is not None]
    if not wanted or execution.namespace in allowed:
        return None
    return Rejected(
        "SecretsNotAllowed",
        f"{wanted[0]} takes its value from a Secret, which is not allowed in namespace {execution.namespace}",
        "write a value instead, or have the operator's administrator add the namespace to the chart's list of "
        "namespaces with Secrets",
    )


def _with_defaults(asked: ExecutionResources | None, pool: Pool) -> ExecutionResources:
    defaults = (pool.spec.defaults.resources if pool.spec.defaults else None) or ExecutionResources()
    if asked is None:
        return defaults
    given = asked.model_dump(exclude_none=True)
    return defaults.model_copy(update=given)


def _bounded(wanted: ExecutionResources, limits: PoolLimits, pool: Pool) -> Verdict:
    """What is asked for within the pool's limits; a limit also bounds what nobody asked for."""
    bounded: dict[str, int | None] = {}
    for field, label in _RESOURCES.items():
        value, limit = _amount(getattr(wanted, field)), _amount(getattr(limits, field))
        if value is not None and limit is not None and value > limit:
            return _over(f"resources.{label}", getattr(wanted, field), getattr(limits, field), pool)
        bounded[_LIMIT_FIELDS[field]] = limit if value is None else value
    try:
        return Accepted(ExecutionLimits(**bounded))
    except ValidationError as error:
        first = error.errors()[0]
        return Rejected(
            "InvalidResources",
            f"the bound {first['loc'][0]} is out of range: {first['msg']}",
            "change spec.resources, or the defaults and limits of the pool",
        )


_RESOURCES: Final = {
    "memory": "memory",
    "cpu_seconds": "cpuSeconds",
    "processes": "processes",
    "open_files": "openFiles",
    "file_size": "fileSize",
    "workspace": "workspace",
    "workspace_entries": "workspaceEntries",
    "tmp": "tmp",
}
_LIMIT_FIELDS: Final = {
    "memory": "memory_bytes",
    "cpu_seconds": "cpu_seconds",
    "processes": "processes",
    "open_files": "open_files",
    "file_size": "file_size_bytes",
    "workspace": "workspace_bytes",
    "workspace_entries": "workspace_entries",
    "tmp": "tmp_bytes",
}


def _amount(value: str | int | None) -> int | None:
    return quantity_bytes(value) if isinstance(value, str) else value


def _over(field: str, value: object, limit: object, pool: Pool) -> Rejected:
    return Rejected(
        "OverPoolLimit",
        f"spec.{field} is {value}, above the limit {limit} of pool {pool.name}",
        f"ask for {limit} at most, or use another pool",
    )
