"""Makes the request for an executor from an Execution: code, environment, files and the report token put in.

The only place where values of ConfigMaps and Secrets pass through; they go into the
request and nowhere else.
"""

import base64
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pydantic import SecretStr, ValidationError

from contracts.execution import ArtifactRef, ConfigMapKeyRef, EnvVar, ExecutionFile, SecretKeyRef
from contracts.executor_api import ExecutionLimits, ExecutionRequest
from contracts.tracing import TRACE_VARIABLE
from controller import names
from controller.admission import Rejected
from controller.artifacts import Artifacts
from controller.errors import KubeError, KubeNotFound
from controller.resources import Body, Execution

NO_ARTIFACTS: Final = Artifacts()
"""Where there is no object store."""


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


async def make_request(
    execution: Execution, grant: Grant, kube: ObjectReader, artifacts: Artifacts = NO_ARTIFACTS
) -> ExecutionRequest | Rejected:
    """The body of ``POST /execute``, or why there will never be one.

    Raises:
        KubeUnavailable: a ConfigMap, a Secret or another Execution could not be read now.
        StoreError: nor could the object store.
    """
    objects = _Objects(execution.namespace, kube, artifacts)
    try:
        code = await _code(execution, objects)
        env = {variable.name: await _value(variable, objects) for variable in execution.spec.env or ()}
        if grant.traceparent and env.get(TRACE_VARIABLE) == "":
            env[TRACE_VARIABLE] = grant.traceparent
        files = [{"path": file.path, "content": await _content(file, objects)} for file in execution.spec.files or ()]
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
    if execution.spec.output_overflow is not None:
        fields["output_overflow"] = execution.spec.output_overflow
    if execution.spec.event_given:
        fields["event"] = execution.spec.event
    if files:
        fields["files"] = files
    try:
        return ExecutionRequest(**fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        return Rejected("InvalidRequest", f"{where}: {what}", f"correct {where} in a new Execution")


class _Missing(Exception):
    """Ends the making of a request with a verdict; never leaves this module."""

    def __init__(self, verdict: Rejected) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class _Objects:
    """The ConfigMaps and Secrets of one Execution's namespace; each is read once, however many of its keys are used.
    And what earlier Executions there have in the object store."""

    def __init__(self, namespace: str, kube: ObjectReader, artifacts: Artifacts) -> None:
        self.namespace = namespace
        self._kube = kube
        self._artifacts = artifacts
        self._read: dict[str, Body] = {}

    async def get(self, kind: str, reference: ConfigMapKeyRef | SecretKeyRef) -> Body:
        """Raises _Missing when it will not be had, and KubeError when that may be another time."""
        path = names.core_path(self.namespace, f"{kind.lower()}s", reference.name)
        if path not in self._read:
            self._read[path] = await self._ask(kind, reference, path)
        return self._read[path]

    async def get_artifact(self, reference: ArtifactRef) -> bytes:
        """Raises _Missing when it will not be had, KubeError or StoreError when that may be another time."""
        path = names.execution_path(self.namespace, reference.execution)
        try:
            earlier: Body | None = await self._kube.get(path)
        except KubeNotFound:
            earlier = None
        content = await self._artifacts.read(reference, earlier)
        if isinstance(content, Rejected):
            raise _Missing(content)
        return content

    async def _ask(self, kind: str, reference: ConfigMapKeyRef | SecretKeyRef, path: str) -> Body:
        try:
            return await self._kube.get(path)
        except KubeNotFound:
            raise _Missing(
                Rejected(
                    f"{kind}NotFound",
                    f"there is no {kind} {reference.name!r} in namespace {self.namespace}",
                    f"create it with the key {reference.key}, then create the Execution anew",
                )
            ) from None
        except KubeError as error:
            if error.status == 403:
                raise _Missing(
                    Rejected(
                        f"{kind}Forbidden",
                        f"the operator may not read {kind}s in namespace {self.namespace}",
                        "have the operator's administrator allow it in the chart's values",
                    )
                ) from None
            raise


async def _code(execution: Execution, objects: _Objects) -> str:
    if execution.spec.code_from is None:
        return execution.spec.code or ""
    reference = execution.spec.code_from.config_map_key_ref
    data = await objects.get("ConfigMap", reference)
    if reference.key not in (data.get("data") or {}):
        raise _missing_key(objects.namespace, "ConfigMap", reference)
    return str(data["data"][reference.key])


async def _value(variable: EnvVar, objects: _Objects) -> str:
    if variable.value_from is None:
        return variable.value or ""
    reference = variable.value_from.secret_key_ref
    try:
        return (await _from_secret(reference, objects)).decode()
    except UnicodeDecodeError:
        raise _Missing(
            Rejected(
                "SecretNotText",
                f"key {reference.key} of Secret {reference.name} is not UTF-8 text",
                "an environment variable holds text: encode the value, for example as base64, in the Secret, "
                "or take it as one of spec.files",
            )
        ) from None


async def _content(file: ExecutionFile, objects: _Objects) -> bytes:
    if file.config_map_key_ref is not None:
        return await _from_config_map(file.config_map_key_ref, objects)
    if file.secret_key_ref is not None:
        return await _from_secret(file.secret_key_ref, objects)
    if file.artifact_ref is not None:
        return await objects.get_artifact(file.artifact_ref)
    return (file.inline or "").encode() if file.inline_base64 is None else base64.b64decode(file.inline_base64)


async def _from_config_map(reference: ConfigMapKeyRef, objects: _Objects) -> bytes:
    found = await objects.get("ConfigMap", reference)
    if reference.key in (found.get("data") or {}):
        return str(found["data"][reference.key]).encode()
    if reference.key in (found.get("binaryData") or {}):
        return base64.b64decode(found["binaryData"][reference.key])
    raise _missing_key(objects.namespace, "ConfigMap", reference)


async def _from_secret(reference: SecretKeyRef, objects: _Objects) -> bytes:
    found = await objects.get("Secret", reference)
    if reference.key not in (found.get("data") or {}):
        raise _missing_key(objects.namespace, "Secret", reference)
    return base64.b64decode(found["data"][reference.key])


def _missing_key(namespace: str, kind: str, reference: ConfigMapKeyRef | SecretKeyRef) -> _Missing:
    return _Missing(
        Rejected(
            f"{kind}KeyNotFound",
            f"{kind} {reference.name!r} in namespace {namespace} has no key {reference.key!r}",
            f"add the key, or name one that is there: kubectl -n {namespace} describe {kind.lower()} {reference.name}",
        )
    )
