"""A client for whoever creates Executions: a Control Plane, a service, a notebook.

``AsyncClient`` and its twin ``Client`` run code, and create, watch, cancel and read Executions through the Kubernetes
API; the caller's Kubernetes permissions are the only credentials. ``docs/control-plane.md`` has worked examples.
"""

from contracts.execution import (
    ConfigMapKeyRef,
    EnvVar,
    EnvVarSource,
    ExecutionFile,
    ExecutionResources,
    ExecutionSpec,
    SecretKeyRef,
)
from sandbox_executor_client.aio import AsyncClient
from sandbox_executor_client.errors import (
    ClientError,
    Conflict,
    Deleted,
    ExecutionFailed,
    Forbidden,
    InvalidExecution,
    NotConfigured,
    NotFound,
    NotInstalled,
    Unavailable,
    WaitTimeout,
)
from sandbox_executor_client.execution import Artifact, Change, Execution, ExecutionFailure, new_execution_id
from sandbox_executor_client.handle import AsyncHandle
from sandbox_executor_client.options import RunOptions
from sandbox_executor_client.output import Output
from sandbox_executor_client.pool import Pool
from sandbox_executor_client.result import Metrics, Result
from sandbox_executor_client.sync import Client, Handle

__all__ = [
    "Artifact",
    "AsyncClient",
    "AsyncHandle",
    "Change",
    "Client",
    "ClientError",
    "ConfigMapKeyRef",
    "Conflict",
    "Deleted",
    "EnvVar",
    "EnvVarSource",
    "Execution",
    "ExecutionFailed",
    "ExecutionFailure",
    "ExecutionFile",
    "ExecutionResources",
    "ExecutionSpec",
    "Forbidden",
    "Handle",
    "InvalidExecution",
    "Metrics",
    "NotConfigured",
    "NotFound",
    "NotInstalled",
    "Output",
    "Pool",
    "Result",
    "RunOptions",
    "SecretKeyRef",
    "Unavailable",
    "WaitTimeout",
    "new_execution_id",
]
