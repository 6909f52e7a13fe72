"""What may be asked for beside the code, by keyword: the one place that knows all of it, for both clients."""

import base64
from collections.abc import Mapping
from typing import TypedDict

from pydantic import JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from contracts.execution import ArtifactRef, ConfigMapKeyRef, ExecutionResources, ExecutionSpec, SecretKeyRef
from contracts.executor_api import Language
from sandbox_executor_client.errors import InvalidExecution
from sandbox_executor_client.program import ProgramKind, as_program

FileContent = str | bytes | ConfigMapKeyRef | SecretKeyRef | ArtifactRef


class RunOptions(TypedDict, total=False):
    """Keywords of ``run`` and ``submit``; each has the default of ``ExecutionSpec``, ``language`` is ``python``."""

    language: Language
    program: ProgramKind
    """Whether Python code is a handler or a plain script; ``auto`` looks (``program``)."""
    event: JsonValue
    """What ``handler(event)`` gets. Left out it is ``{}``; None is an event too."""
    stdin: str
    timeout: int
    """Seconds of wall time, 1 to 3600, after which the code is killed; time in a queue does not count."""
    env: Mapping[str, str | SecretKeyRef]
    files: Mapping[str, FileContent]
    """Path in the workspace, which is the code's working directory → what it finds there; at most 64 files, 4 MiB
    together, 1 MiB of them text and bytes that are given here."""
    pool: str
    session_id: str
    resources: ExecutionResources
    max_retries: int
    ttl_seconds_after_finished: int
    execution_id: str
    """The same id never runs twice, however often it is asked for."""
    name: str
    """Of the object; made from the id when left out."""
    labels: Mapping[str, str]


_SPEC_FIELDS = {
    "event": "event",
    "stdin": "stdin",
    "timeout": "timeout_seconds",
    "pool": "pool",
    "session_id": "session_id",
    "resources": "resources",
    "max_retries": "max_retries",
    "ttl_seconds_after_finished": "ttl_seconds_after_finished",
    "execution_id": "execution_id",
}


def make_spec(code: str, options: RunOptions) -> ExecutionSpec:
    """The spec that the options ask for.

    Raises:
        InvalidExecution: a value is out of its bounds; the message names the field and the bound.
    """
    language = options.get("language", "python")
    fields: dict[str, object] = {field: options[name] for name, field in _SPEC_FIELDS.items() if name in options}  # type: ignore[literal-required]
    try:
        env = [_variable(name, value) for name, value in options.get("env", {}).items()]
        files = [as_file(path, content) for path, content in options.get("files", {}).items()]
        program = as_program(code, language, options.get("program", "auto"))
        lists = {name: found for name, found in (("env", env), ("files", files)) if found}
        return ExecutionSpec.model_validate({"code": program, "language": language, **lists, **fields})
    except ValidationError as error:
        raise InvalidExecution(explain(error)) from None


def explain(error: ValidationError) -> str:
    """What is wrong with a spec, in one line."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    where = [".".join(["spec", *(to_camel(str(part)) for part in each["loc"])]) for each in found]
    what = [each["msg"].removeprefix("Value error, ") for each in found]
    return "; ".join(f"{place}: {problem}" for place, problem in zip(where, what, strict=True))


def as_file(path: str, content: FileContent) -> dict[str, object]:
    """One of ``spec.files``, by the names of a manifest. Bytes that are text are written as text, others as base64."""
    if isinstance(content, SecretKeyRef):
        return {"path": path, "secretKeyRef": content}
    if isinstance(content, ConfigMapKeyRef):
        return {"path": path, "configMapKeyRef": content}
    if isinstance(content, ArtifactRef):
        return {"path": path, "artifactRef": content}
    if isinstance(content, str):
        return {"path": path, "inline": content}
    try:
        return {"path": path, "inline": content.decode()}
    except UnicodeDecodeError:
        return {"path": path, "inlineBase64": base64.b64encode(content).decode()}


def _variable(name: str, value: str | SecretKeyRef) -> dict[str, object]:
    if isinstance(value, SecretKeyRef):
        return {"name": name, "value_from": {"secret_key_ref": value}}
    return {"name": name, "value": value}
