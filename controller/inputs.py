"""Makes the request for an executor from an Execution: code, environment and the report token put in.

The only place where values of ConfigMaps and Secrets pass through; they go into the
request and nowhere else.
"""

import base64
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import SecretStr, ValidationError

from contracts.execution import ConfigMapKeyRef, EnvVar, SecretKeyRef
from contracts.executor_api import ExecutionLimits, ExecutionRequest
from contracts.tracing import TRACE_VARIABLE
from controller import names
from controller.admission import Rejected
from controller.errors import KubeError, KubeNotFound
from controller.resources import Body, Execution


class ObjectReader(Protocol):
    """What this module needs of the API server's client."""

    async def get(self, path: str) -> Body:
        """One object, by its path; raises KubeError."""
        ...


@dataclass(frozen=True, slots=True)
class Grant:
    """What the controller gives to an attempt, besides what its spec says."""

    report_token: str
    limits: ExecutionLimits
    traceparent: str = ""
    """For code that asks for it (``contracts.tracing.TRACE_VARIABLE``); empty where traces are off."""


async def make_request(execution: Execution, grant: Grant, kube: ObjectReader) -> ExecutionRequest | Rejected:
    """The body of ``POST /execute``, or why there will never be one.

    Raises:
        KubeUnavailable: a ConfigMap or Secret could not be read now.
    """
    try:
        code = await _code(execution, kube)
        env = {variable.name: await _value(variable, execution, kube) for variable in execution.spec.env or ()}
        if grant.traceparent and env.get(TRACE_VARIABLE) == "":
            env[TRACE_VARIABLE] = grant.traceparent
    except _Missing as missing:
        return missing.verdict
    fields: dict[str, Any] = {
        "code": code,
        "language": execution.spec.language,
        "execution_id": execution.execution_id,
        "timeout": execution.spec.timeout_seconds,
        "env_vars": env,
        "report_token": SecretStr(grant.report_token),
        "limits": grant.limits,
        "session_id": execution.session_id,
    }
    if execution.spec.stdin is not None:
        fields["stdin"] = execution.spec.stdin
    if execution.spec.event_given:
        fields["event"] = execution.spec.event
    try:
        return ExecutionRequest(**fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Rejected("InvalidRequest", f"{where}: {first['msg']}", f"correct {where} in a new Execution")


class _Missing(Exception):
    """Ends the making of a request with a verdict; never leaves this module."""

    def __init__(self, verdict: Rejected) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


async def _code(execution: Execution, kube: ObjectReader) -> str:
    if execution.spec.code_from is None:
        return execution.spec.code or ""
    reference = execution.spec.code_from.config_map_key_ref
    data = await _read(kube, execution.namespace, "ConfigMap", reference)
    if reference.key not in (data.get("data") or {}):
        raise _missing_key(execution.namespace, "ConfigMap", reference)
    return str(data["data"][reference.key])


async def _value(variable: EnvVar, execution: Execution, kube: ObjectReader) -> str:
    if variable.value_from is None:
        return variable.value or ""
    reference = variable.value_from.secret_key_ref
    data = await _read(kube, execution.namespace, "Secret", reference)
    if reference.key not in (data.get("data") or {}):
        raise _missing_key(execution.namespace, "Secret", reference)
    try:
        return base64.b64decode(data["data"][reference.key]).decode()
    except UnicodeDecodeError:
        raise _Missing(
            Rejected(
                "SecretNotText",
                f"key {reference.key} of Secret {reference.name} is not UTF-8 text",
                "an environment variable holds text: encode the value, for example as base64, in the Secret",
            )
        ) from None


async def _read(kube: ObjectReader, namespace: str, kind: str, reference: ConfigMapKeyRef | SecretKeyRef) -> Body:
    path = names.core_path(namespace, f"{kind.lower()}s", reference.name)
    try:
        return await kube.get(path)
    except KubeNotFound:
        raise _Missing(
            Rejected(
                f"{kind}NotFound",
                f"there is no {kind} {reference.name!r} in namespace {namespace}",
                f"create it with the key {reference.key}, then create the Execution anew",
            )
        ) from None
    except KubeError as error:
        if error.status == 403:
            raise _Missing(
                Rejected(
                    f"{kind}Forbidden",
                    f"the operator may not read {kind}s in namespace {namespace}",
                    "have the operator's administrator allow it in the chart's values",
                )
            ) from None
        raise


def _missing_key(namespace: str, kind: str, reference: ConfigMapKeyRef | SecretKeyRef) -> _Missing:
    return _Missing(
        Rejected(
            f"{kind}KeyNotFound",
            f"{kind} {reference.name!r} in namespace {namespace} has no key {reference.key!r}",
            f"add the key, or name one that is there: kubectl -n {namespace} describe {kind.lower()} {reference.name}",
        )
    )
