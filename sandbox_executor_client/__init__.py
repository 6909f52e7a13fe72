"""A client for whoever creates Executions: a Control Plane, a service, a notebook.

``AsyncClient`` and its twin ``Client`` run code, and create, watch, cancel and read Executions through the Kubernetes
API; the caller's Kubernetes permissions are the only credentials. ``docs/control-plane.md`` has worked examples.
"""

from contracts.execution import (
    ArtifactRef,
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
    Corrupted,
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
from sandbox_executor_client.execution import (
    Artifact,
    Change,
    Execution,
    ExecutionFailure,
    OutputInfo,
    new_execution_id,
)
from sandbox_executor_client.handle import AsyncHandle
from sandbox_executor_client.options import RunOptions
from sandbox_executor_client.output import Output
from sandbox_executor_client.pool import Pool
from sandbox_executor_client.result import Metrics, Result
from sandbox_executor_client.stored import AsyncStoredOutput, StoredOutput, safe_path
from sandbox_executor_client.sync import Client, Handle

__all__ = [
    "Artifact",
    "ArtifactRef",
    "AsyncClient",
    "AsyncHandle",
    "AsyncStoredOutput",
    "Change",
    "Client",
    "ClientError",
    "ConfigMapKeyRef",
    "Conflict",
    "Corrupted",
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
    "OutputInfo",
    "Pool",
    "Result",
    "RunOptions",
    "SecretKeyRef",
    "StoredOutput",
    "Unavailable",
    "WaitTimeout",
    "new_execution_id",
    "safe_path",
]
