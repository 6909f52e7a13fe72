"""The ``Execution`` resource: one run of untrusted code.

``contracts.crd`` makes the CustomResourceDefinition from these models, so bounds and
messages stand here only. CEL speaks where a bound alone would not say what to write.
"""

import base64
import binascii
import re
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticUndefined

from contracts import bounds, files
from contracts.executor_api import Code, EnvValue, Language, OutputOverflow
from contracts.ids import EXECUTION_ID_EXAMPLE, EXECUTION_ID_PATTERN
from contracts.kube import ByteQuantity, Condition, DnsName, KeyName, KubeModel, Timestamp, cel
from contracts.outputs import MAX_NAME_LENGTH, SHA256_PATTERN

Phase = Literal["Pending", "Running", "Succeeded", "Failed", "TimedOut", "Crashed", "Cancelled", "Rejected"]
TERMINAL_PHASES: Final[frozenset[Phase]] = frozenset(
    {"Succeeded", "Failed", "TimedOut", "Crashed", "Cancelled", "Rejected"}
)

DEFAULT_POOL: Final = "default"

_ANY_JSON: Final[dict[str, Any]] = {"x-kubernetes-preserve-unknown-fields": True, "nullable": True}

_ANY_OBJECT: Final[dict[str, Any]] = {"x-kubernetes-preserve-unknown-fields": True}

_ID_MESSAGE = (
    "executionId must be exec_, the date as eight digits, _, and eight of a-z or 0-9, for example "
    f"{EXECUTION_ID_EXAMPLE}; or leave it out and one is made"
)
_CODE_MESSAGE = (
    f"code is larger than 1 MiB ({bounds.MAX_CODE_BYTES} bytes): "
    "make it smaller, or read the data that it holds from spec.event or spec.stdin"
)
_STDIN_MESSAGE = f"stdin is larger than 1 MiB ({bounds.MAX_STDIN_BYTES} bytes): make it smaller"
_API_REQUEST_LIMIT: Final = 3 * 1_048_576
"""The API server's own limit on a request, so that the CEL rule is what speaks below it."""


def _bytes_rule(limit: int, message: str) -> dict[str, Any]:
    return {"maxLength": _API_REQUEST_LIMIT, **cel((f"bytes(self).size() <= {limit}", message))}


class ConfigMapKeyRef(KubeModel):
    """A key of a ConfigMap in the Execution's namespace."""

    name: DnsName = Field(description="The ConfigMap.")
    key: KeyName = Field(description="The key in it.")


class CodeSource(KubeModel):
    """Where the code comes from when it is not written in the spec."""

    config_map_key_ref: ConfigMapKeyRef


class SecretKeyRef(KubeModel):
    """A key of a Secret in the Execution's namespace; the operator must allow it for that namespace."""

    name: DnsName = Field(description="The Secret.")
    key: KeyName = Field(description="The key in it; for a variable its value is UTF-8 text.")


class EnvVarSource(KubeModel):
    """Where the value of an environment variable comes from."""

    secret_key_ref: SecretKeyRef


class EnvVar(KubeModel):
    """One environment variable of the code."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256, description="What the code reads it by.")
    value: Annotated[EnvValue, Field(max_length=bounds.MAX_ENV_VALUE_BYTES)] | None = Field(
        default=None, description="Its value; empty when valueFrom is left out too."
    )
    value_from: EnvVarSource | None = None

    model_config = {
        "json_schema_extra": cel(
            ("!(has(self.value) && has(self.valueFrom))", "write value or valueFrom for a variable, not both")
        )
    }

    @model_validator(mode="after")
    def _one_source(self) -> "EnvVar":
        if self.value is not None and self.value_from is not None:
            raise ValueError("write value or valueFrom for a variable, not both")
        return self


class ArtifactRef(KubeModel):
    """Something that an earlier Execution of the same namespace has put into the operator's object store."""

    execution: DnsName = Field(description="The Execution; it has ended and is still there.")
    name: str = Field(
        min_length=1, max_length=MAX_NAME_LENGTH, description="As in its status.outputs, such as artifacts/table.csv."
    )
    sha256: str = Field(
        pattern=SHA256_PATTERN, description="As there: the content that is meant, whatever has run meanwhile."
    )


_ONE_CONTENT_MESSAGE = (
    "write exactly one of inline, inlineBase64, configMapKeyRef, secretKeyRef and artifactRef for a file"
)
_INLINE_MESSAGE = (
    f"the files that stand in the spec are together larger than {bounds.MAX_INLINE_FILES_BYTES} bytes: "
    "put large ones into ConfigMaps"
)
_CONTENTS: Final = ("inline", "inlineBase64", "configMapKeyRef", "secretKeyRef", "artifactRef")
_PATH_RULES: Final = cel(
    (
        "self.split('/').all(part, part != '' && part != '.' && part != '..')",
        files.RELATIVE_MESSAGE,
    ),
    (r"self.matches('^[^\\x00-\\x1f\\x7f]*$')", files.CONTROL_MESSAGE),
    (f"bytes(self).size() <= {bounds.MAX_FILE_PATH_BYTES}", files.LENGTH_MESSAGE),
    (f"self.split('/').size() <= {bounds.MAX_FILE_PATH_PARTS}", files.DEPTH_MESSAGE),
    (f"self.split('/')[0] != '{files.PROGRESS_FILE}'", files.RESERVED_MESSAGE),
)
_FILES_RULES: Final = cel(
    ("self.all(one, !self.exists(other, other.path.startsWith(one.path + '/')))", files.NESTED_MESSAGE),
    (
        "self.map(file, (has(file.inline) ? file.inline.size() : 0) + "
        "(has(file.inlineBase64) ? file.inlineBase64.size() : 0)).sum() "
        f"<= {bounds.MAX_INLINE_FILES_BYTES}",
        _INLINE_MESSAGE,
    ),
)


class ExecutionFile(KubeModel):
    """One file that the code finds in its workspace, and where its content comes from."""

    path: files.FilePath = Field(
        description="Relative to the workspace, such as data/input.csv.", json_schema_extra=_PATH_RULES
    )
    inline: str | None = Field(
        default=None, max_length=bounds.MAX_INLINE_FILES_BYTES, description="Its content, if that is text."
    )
    inline_base64: str | None = Field(
        # No format: byte. CEL would then decode it, and by the other alphabet of base64.
        default=None,
        max_length=bounds.MAX_INLINE_FILES_BYTES,
        description="Its content as base64, whatever it is.",
    )
    config_map_key_ref: ConfigMapKeyRef | None = None
    secret_key_ref: SecretKeyRef | None = None
    artifact_ref: ArtifactRef | None = None

    model_config = {
        "json_schema_extra": cel(
            (f"[{', '.join(f'has(self.{name})' for name in _CONTENTS)}].filter(x, x).size() == 1", _ONE_CONTENT_MESSAGE)
        )
    }

    @field_validator("inline_base64")
    @classmethod
    def _base64(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("inlineBase64 is base64 with its padding (RFC 4648, section 4)") from None
        return value

    @model_validator(mode="after")
    def _one_content(self) -> "ExecutionFile":
        given = (self.inline, self.inline_base64, self.config_map_key_ref, self.secret_key_ref, self.artifact_ref)
        if sum(each is not None for each in given) != 1:
            raise ValueError(_ONE_CONTENT_MESSAGE)
        return self


class ExecutionResources(KubeModel):
    """Bounds of one run, within the pool's limits."""

    memory: ByteQuantity | None = Field(default=None, description="Memory of the whole process tree, such as 256Mi.")
    cpu_seconds: int | None = Field(default=None, ge=1, le=86_400, description="CPU time of each process.")
    processes: int | None = Field(default=None, ge=1, le=32_768, description="Processes and threads at a time.")
    open_files: int | None = Field(default=None, ge=16, le=1_048_576, description="Descriptors of each process.")
    file_size: ByteQuantity | None = Field(default=None, description="Largest file the code may write.")
    workspace: ByteQuantity | None = Field(
        default=None, description="Disk space of the whole workspace, such as 512Mi; a session's counts as one."
    )
    workspace_entries: int | None = Field(
        default=None,
        ge=1,
        le=bounds.MAX_WORKSPACE_ENTRIES,
        description="Files, directories and links in the workspace.",
    )
    tmp: ByteQuantity | None = Field(
        default=None, description="Size of /tmp and of /dev/shm, at least 16Mi. They are part of the memory."
    )


class ExecutionSpec(KubeModel):
    """What to run, and within which bounds. Immutable but for ``cancel``."""

    code: Code | None = Field(
        default=None,
        description="Source code, at most 1 MiB. Python defines handler(event).",
        json_schema_extra=_bytes_rule(bounds.MAX_CODE_BYTES, _CODE_MESSAGE),
    )
    code_from: CodeSource | None = Field(default=None, description="Takes the code from a ConfigMap instead.")
    language: Language = Field(description="What runs the code.")
    event: JsonValue = Field(
        default=None,
        description="Any JSON value; what a Python handler(event) gets. Default {}.",
        json_schema_extra=_ANY_JSON,
    )
    stdin: str | None = Field(
        default=None,
        description="What the code reads from standard input, at most 1 MiB.",
        json_schema_extra=_bytes_rule(bounds.MAX_STDIN_BYTES, _STDIN_MESSAGE),
    )
    timeout_seconds: int = Field(
        default=bounds.DEFAULT_TIMEOUT_S,
        ge=bounds.MIN_TIMEOUT_S,
        le=bounds.MAX_TIMEOUT_S,
        description="Wall time after which the code is killed.",
    )
    env: list[EnvVar] | None = Field(
        default=None,
        max_length=bounds.MAX_ENV_VARS,
        description="Environment variables of the code.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    files: list[ExecutionFile] | None = Field(
        default=None,
        max_length=bounds.MAX_FILES,
        description="Files that the code finds in its workspace, at most 4 MiB together.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["path"],
            **_FILES_RULES,
        },
    )
    pool: DnsName = Field(default=DEFAULT_POOL, description="The ExecutorPool that runs it.")
    session_id: str | None = Field(
        default=None,
        max_length=128,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        description="Executions of one session share a workspace, one after the other.",
    )
    resources: ExecutionResources | None = None
    execution_id: str | None = Field(
        default=None,
        max_length=128,
        description="Unique in the cluster; made from the creation date and the UID when left out.",
        json_schema_extra=cel((f"self.matches('{EXECUTION_ID_PATTERN}')", _ID_MESSAGE)),
    )
    max_retries: int = Field(
        default=0, ge=0, le=10, description="New attempts after an infrastructure failure; never after failed code."
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None, ge=0, le=31_536_000, description="The Execution is deleted this long after it has ended."
    )
    output_overflow: OutputOverflow | None = Field(
        default=None,
        description="When the code writes more than its executor holds, 10 MiB of each stream and the last bytes: drop "
        "(default): it goes on; hold: it waits until somebody who follows its output has read that, and its timeout "
        "runs on.",
    )
    cancel: bool = Field(default=False, description="Set to true to stop it. Cannot be taken back.")

    @field_validator("execution_id")
    @classmethod
    def _well_formed_id(cls, value: str | None) -> str | None:

        if value is not None and not re.fullmatch(EXECUTION_ID_PATTERN, value):
            raise ValueError(_ID_MESSAGE)
        return value

    @field_validator("env")
    @classmethod
    def _distinct_names(cls, value: list[EnvVar] | None, _info: ValidationInfo) -> list[EnvVar] | None:
        names = [variable.name for variable in value or []]
        if len(names) != len(set(names)):
            raise ValueError("a variable stands twice in env")
        return value

    @field_validator("files")
    @classmethod
    def _side_by_side(cls, value: list[ExecutionFile] | None) -> list[ExecutionFile] | None:
        files.check_together(file.path for file in value or ())
        written = sum(len((file.inline or "").encode()) + len(file.inline_base64 or "") for file in value or ())
        if written > bounds.MAX_INLINE_FILES_BYTES:
            raise ValueError(_INLINE_MESSAGE)
        return value

    @model_validator(mode="after")
    def _one_code(self) -> "ExecutionSpec":
        if (self.code is None) == (self.code_from is None):
            raise ValueError(_ONE_CODE_MESSAGE)
        return self

    @property
    def event_given(self) -> bool:
        """Whether the spec has an event, be it null."""
        return "event" in self.model_fields_set


_ONE_CODE_MESSAGE = "write spec.code or spec.codeFrom, exactly one of the two"
IMMUTABLE_MESSAGE: Final = "spec cannot be changed once created, except spec.cancel: create a new Execution instead"
_NOT_COMPARED: Final = frozenset({"cancel", "event"})


def spec_rules() -> dict[str, Any]:
    """The CEL rules over the whole spec: one source of code, immutability, and a cancel that stays.

    CEL in a CustomResourceDefinition cannot name ``event``, which has no type, and comparing whole specs is
    over the API server's cost limit; the chart's ValidatingAdmissionPolicy holds that field
    (``docs/decisions/0006-immutable-spec.md``).
    """
    unchanged = " && ".join(_unchanged(name) for name in ExecutionSpec.model_fields if name not in _NOT_COMPARED)
    return cel(
        ("has(self.code) != has(self.codeFrom)", _ONE_CODE_MESSAGE),
        ("!oldSelf.cancel || self.cancel", "spec.cancel cannot be taken back: create a new Execution instead"),
        (unchanged, IMMUTABLE_MESSAGE),
    )


def _unchanged(field_name: str) -> str:
    """CEL that holds when an update leaves the field as it was, be it absent.

    ``self.?x == oldSelf.?x`` says the same, but the API server cannot bound the cost of comparing optionals.
    """
    field = ExecutionSpec.model_fields[field_name]
    name = field.alias
    if field.default not in (None, PydanticUndefined) or field.is_required():
        return f"self.{name} == oldSelf.{name}"
    return f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})"


class ExecutionError(KubeModel):
    """Why an Execution did not succeed, in the form that all of our errors have."""

    error_code: str = Field(description="Stable, machine-readable: Executor. or Controller. and the reason.")
    description: str = Field(description="What is wrong, in one sentence.")
    error_detail: str | None = Field(default=None, description="Which field or object, and the bound it broke.")
    solution: str | None = Field(default=None, description="What to write or do instead.")
    request_id: str | None = Field(default=None, description="The request that it was about, also in the logs.")


class StatusMetrics(KubeModel):
    """Usage of the sandboxed processes alone."""

    duration_ms: float = Field(ge=0, strict=False, description="Wall time from the sandbox's start to its end.")
    cpu_time_ms: float = Field(default=0.0, ge=0, strict=False, description="User and system time of all processes.")
    peak_memory_mb: float = Field(
        default=0.0, alias="peakMemoryMB", ge=0, strict=False, description="Peak of the process tree, MiB."
    )
    io_read_bytes: int = Field(
        default=0, ge=0, description="Read from storage; what the page cache had is not counted."
    )
    io_write_bytes: int = Field(default=0, ge=0, description="Written to storage.")


class StatusArtifact(KubeModel):
    """One file that the code created or changed in its workspace."""

    path: str = Field(description="Relative to the workspace.")
    size: int = Field(ge=0, description="Bytes.")
    mime_type: str = Field(default="application/octet-stream", description="By the name's extension.")
    type: Literal["artifact", "log", "output"] = Field(default="artifact", description="By the name's extension.")


class StatusOutput(KubeModel):
    """One object in the operator's object store; docs/outputs.md says how it is fetched."""

    name: str = Field(
        max_length=MAX_NAME_LENGTH, description="stdout, stderr, returnValue, or artifacts/ and the path of a file."
    )
    size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field(pattern=SHA256_PATTERN, description="Of its bytes, hexadecimal.")
    media_type: str = Field(default="application/octet-stream", description="By the name's extension.")
    uri: str = Field(description="Where it lies, for who has credentials of the store. Not signed.")
    truncated: bool | None = Field(default=None, description="True when the code wrote more than was kept.")


class ExecutionStatus(KubeModel):
    """What became of it. Written by the controller only, by its one fold."""

    # After a rollback there may be a later version's fields.
    model_config = ConfigDict(extra="ignore")

    phase: Phase | None = Field(default=None, description="Where it is; the last six are final.")
    conditions: list[Condition] | None = Field(
        default=None,
        description="Scheduled, Finished, Succeeded; with a Control Plane Reported, with an object store "
        "OutputsStored.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    observed_generation: int | None = Field(
        default=None, ge=0, description="The metadata.generation that was acted on last."
    )
    execution_id: str | None = Field(default=None, description="spec.executionId, or the one that was made.")
    attempt: int | None = Field(default=None, ge=0, description="Counts from 1; maxRetries allows more than one.")
    pod_name: str | None = Field(default=None, description="The executor pod of the attempt.")
    node_name: str | None = Field(default=None, description="The node of that pod.")
    executor_run: str | None = Field(
        default=None,
        max_length=32,
        description="The run of the pod's executor that the attempt is meant for: after a restart it is another one.",
    )
    start_time: Timestamp | None = Field(default=None, description="When the attempt was claimed for its pod.")
    completion_time: Timestamp | None = Field(default=None, description="When its end was written.")
    duration: str | None = Field(default=None, description="completionTime less startTime, for people, such as 1.24s.")
    last_heartbeat_time: Timestamp | None = Field(
        default=None, description="When its executor last said that it runs; short ones have none."
    )
    progress: dict[str, JsonValue] | None = Field(
        default=None, description="What the code wrote to .progress.json.", json_schema_extra=_ANY_OBJECT
    )
    stdout_tail: str | None = Field(
        default=None, description="While it runs, after two seconds: the last 4 KiB. Gone once it has ended."
    )
    stderr_tail: str | None = Field(
        default=None, description="While it runs, after two seconds: the last 4 KiB. Gone once it has ended."
    )
    exit_code: int | None = Field(
        default=None, description="Of the code; 128 + signal when a signal ended it, -1 on timeout or sandbox failure."
    )
    stdout: str | None = Field(default=None, description="The last 64 KiB.")
    stderr: str | None = Field(default=None, description="The last 64 KiB.")
    stdout_truncated: bool | None = Field(default=None, description="Whether there was more than stands here.")
    stderr_truncated: bool | None = Field(default=None, description="Whether there was more than stands here.")
    stdout_bytes: int | None = Field(default=None, ge=0, description="UTF-8 bytes that the executor kept.")
    stderr_bytes: int | None = Field(default=None, ge=0, description="UTF-8 bytes that the executor kept.")
    return_value: JsonValue = Field(
        default=None, description="What the handler returned, up to 64 KiB.", json_schema_extra=_ANY_JSON
    )
    return_value_truncated: bool | None = Field(
        default=None, description="True when the value was larger than 64 KiB and is left out."
    )
    metrics: StatusMetrics | None = None
    artifacts: list[StatusArtifact] | None = Field(
        default=None, max_length=bounds.STATUS_ARTIFACTS, description="The first 200."
    )
    artifacts_total: int | None = Field(default=None, ge=0, description="How many there were.")
    outputs: list[StatusOutput] | None = Field(
        default=None,
        max_length=bounds.MAX_OUTPUTS,
        description="With an object store: artifacts, and what is too large to stand here.",
    )
    error: ExecutionError | None = None
