"""A client for whoever creates Executions: a Control Plane, a service, a notebook.

``AsyncClient`` and its twin ``Client`` create, watch, cancel and read Executions through the Kubernetes API; the
caller's Kubernetes permissions are the only credentials. ``docs/control-plane.md`` has worked examples.
"""

from contracts.execution import EnvVar, EnvVarSource, ExecutionResources, ExecutionSpec, SecretKeyRef
from sandbox_executor_client.aio import AsyncClient
from sandbox_executor_client.errors import (
    ClientError,
    Conflict,
    Deleted,
    Forbidden,
    InvalidExecution,
    NotConfigured,
    NotFound,
    Unavailable,
    WaitTimeout,
)
from sandbox_executor_client.execution import Artifact, Change, Execution, ExecutionFailure, new_execution_id
from sandbox_executor_client.sync import Client

__all__ = [
    "Artifact",
    "AsyncClient",
    "Change",
    "Client",
    "ClientError",
    "Conflict",
    "Deleted",
    "EnvVar",
    "EnvVarSource",
    "Execution",
    "ExecutionFailure",
    "ExecutionResources",
    "ExecutionSpec",
    "Forbidden",
    "InvalidExecution",
    "NotConfigured",
    "NotFound",
    "SecretKeyRef",
    "Unavailable",
    "WaitTimeout",
    "new_execution_id",
]
