"""The executor's HTTP API: what ``POST /execute`` takes and gives (the seed's T007, ``docs/architecture.md``)."""

import base64
import binascii
import hashlib
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from contracts import bounds, files
from contracts.ids import EXECUTION_ID_EXAMPLE, EXECUTION_ID_PATTERN
from contracts.outputs import OutputMetadata, OutputsMissing, is_empty

Language = Literal["python", "javascript", "shell"]
LANGUAGES: tuple[Language, ...] = ("python", "javascript", "shell")

ResultStatus = Literal["success", "failed", "timeout", "error"]
Reason = Literal[
    "Completed",
    "NonZeroExit",
    "Signaled",
    "HandlerMissing",
    "HandlerRaised",
    "ResultNotSerializable",
    "TimedOut",
    "Cancelled",
    "MemoryLimit",
    "DiskLimit",
    "SandboxError",
]
OutputOverflow = Literal["drop", "hold"]
"""What happens when code writes more than is held of its output: it goes on, or it waits until that was read."""
IsolationLevel = Literal["full", "reduced"]
LimitsEnforcement = Literal["cgroup", "watchdog"]

EPOCH_HEADER: Final = "X-Controller-Epoch"
"""Which leader asks: a number that only grows. An executor refuses what comes with a smaller one than it has seen."""
MAX_EPOCH: Final = 10**18 - 1
RUN_HEADER: Final = "X-Executor-Run"
"""Which run of the executor a request is meant for (``Health.run_id``); another one refuses it."""
ATTEMPT_HEADER: Final = "X-Execution-Attempt"
"""Which attempt at an execution is meant; 1 where it is left out. A later attempt is another run under the same id."""
MAX_ATTEMPT: Final = 999
OWNER_HEADER: Final = "X-Execution-Owner"
"""The uid of the Execution that is run, or whose output is wanted: users choose ids, and may choose one that another
tenant's Execution has had."""
OWNER_PATTERN: Final = r"^[-0-9a-zA-Z]{1,64}$"
RUN_ID_PATTERN: Final = r"^[0-9a-f]{32}$"


def utf8_at_most(limit: int, what: str) -> AfterValidator:
    """A validator that bounds a string in UTF-8 bytes and refuses NUL, which no process argument can hold."""

    def check(value: str) -> str:
        size = len(value.encode("utf-8", "surrogatepass"))
        if size > limit:
            raise ValueError(f"{what} is {size} bytes long; at most {limit} bytes are allowed")
        return value

    return AfterValidator(check)


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    return value


Code = Annotated[str, utf8_at_most(bounds.MAX_CODE_BYTES, "code")]
ExecutionId = Annotated[str, Field(pattern=EXECUTION_ID_PATTERN, examples=[EXECUTION_ID_EXAMPLE])]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
EnvValue = Annotated[str, utf8_at_most(bounds.MAX_ENV_VALUE_BYTES, "an environment value"), AfterValidator(_no_nul)]
SessionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?$")]


class ExecutionLimits(BaseModel):
    """Bounds for one run, set inside the sandbox; absent ones take the executor's defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    memory_bytes: int | None = Field(
        default=None, ge=16 * 1_048_576, le=2**40, description="Memory of all processes, /tmp and /dev/shm included."
    )
    cpu_seconds: int | None = Field(default=None, ge=1, le=86_400, description="CPU time of each process.")
    processes: int | None = Field(default=None, ge=1, le=32_768, description="Processes and threads at a time.")
    open_files: int | None = Field(default=None, ge=16, le=1_048_576, description="Descriptors of each process.")
    file_size_bytes: int | None = Field(default=None, ge=0, le=2**40, description="Size of each file.")
    workspace_bytes: int | None = Field(
        default=None, ge=0, le=2**40, description="Disk space of the whole workspace; a session's counts as one."
    )
    workspace_entries: int | None = Field(
        default=None, ge=1, le=bounds.MAX_WORKSPACE_ENTRIES, description="Files, directories and links in it."
    )
    tmp_bytes: int | None = Field(
        default=None, ge=16 * 1_048_576, le=2**36, description="Size of /tmp and, apart, of /dev/shm; they are memory."
    )


def _decode(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64 with its padding (RFC 4648, section 4)") from None


def _bounded_content(value: bytes) -> bytes:
    if len(value) > bounds.MAX_FILES_BYTES:
        raise ValueError(f"a file of {len(value)} bytes; at most {bounds.MAX_FILES_BYTES} bytes are allowed")
    return value


FileContent = Annotated[
    bytes,
    BeforeValidator(_decode),
    AfterValidator(_bounded_content),
    PlainSerializer(lambda value: base64.b64encode(value).decode(), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "maxLength": 4 * -(-bounds.MAX_FILES_BYTES // 3)}),
]


class InputFile(BaseModel):
    """A file that the code finds in its workspace."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: files.FilePath = Field(description="Relative to the workspace, at most 16 parts and 255 bytes.")
    content: FileContent = Field(repr=False, description="Its bytes as base64, at most 4 MiB of them.")


class ExecutionRequest(BaseModel):
    """The body of ``POST /execute``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    code: Code = Field(description="UTF-8 source, at most 1 MiB counted in bytes.")
    language: Language = Field(description="What runs the code.")
    execution_id: ExecutionId = Field(description="The same again joins the first run.")
    timeout: int = Field(
        default=bounds.DEFAULT_TIMEOUT_S,
        ge=bounds.MIN_TIMEOUT_S,
        le=bounds.MAX_TIMEOUT_S,
        description="Seconds of wall time.",
    )
    stdin: Annotated[str, utf8_at_most(bounds.MAX_STDIN_BYTES, "stdin")] = Field(
        default="", description="What the code reads from standard input, at most 1 MiB counted in bytes."
    )
    event: JsonValue = Field(
        default_factory=dict,
        description="What a Python handler(event) gets. When absent and stdin is JSON, it is parsed from stdin.",
    )
    session_id: SessionId | None = Field(
        default=None, description="Executions of one session share a workspace, one after the other."
    )
    env_vars: dict[EnvName, EnvValue] = Field(
        default_factory=dict, max_length=bounds.MAX_ENV_VARS, description="Environment variables of the code."
    )
    report_token: SecretStr | None = Field(
        default=None, description="Used instead of INTERNAL_API_TOKEN for the reports on this execution."
    )
    limits: ExecutionLimits = Field(default_factory=ExecutionLimits)
    output_overflow: OutputOverflow = Field(
        default="drop",
        description="When it writes more than is held of its output: drop: it goes on; hold: it waits until somebody "
        "who follows its output has read that, and its timeout runs on.",
    )
    files: list[InputFile] = Field(
        default_factory=list,
        max_length=bounds.MAX_FILES,
        description="What the code finds in its workspace, at most 4 MiB together.",
    )

    @field_validator("files")
    @classmethod
    def _fitting(cls, value: list[InputFile], info: ValidationInfo) -> list[InputFile]:
        files.check_together(file.path for file in value)
        size = sum(len(file.content) for file in value)
        if size > bounds.MAX_FILES_BYTES:
            raise ValueError(files.TOTAL_MESSAGE)
        limits = info.data.get("limits")
        if limits is not None and limits.workspace_bytes is not None and size > limits.workspace_bytes:
            raise ValueError(f"the files hold {size} bytes, and the workspace may hold {limits.workspace_bytes}")
        return value

    @property
    def event_given(self) -> bool:
        """Whether the client wrote an event; an absent one may be parsed from ``stdin``."""
        return "event" in self.model_fields_set


def _rounded(digits: int) -> AfterValidator:
    """A figure as a person can read it; what is cut off is below what can be measured."""
    return AfterValidator(lambda value: round(value, digits))


Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False), _rounded(3)]
Mebibytes = Annotated[float, Field(ge=0, allow_inf_nan=False), _rounded(2)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=bounds.MAX_INT64)]
ExitCode = Annotated[int, Field(ge=-bounds.MAX_INT64, le=bounds.MAX_INT64)]


class ExecutionMetrics(BaseModel):
    """Usage of the sandboxed processes alone, never of the executor."""

    model_config = ConfigDict(frozen=True)

    duration_ms: Milliseconds = Field(description="Wall time from the start of the sandbox to its end.")
    cpu_time_ms: Milliseconds = Field(default=0.0, description="User and system time, descendants included.")
    peak_memory_mb: Mebibytes = Field(default=0.0, description="Peak resident memory of the process tree, MiB.")
    io_read_bytes: Count = Field(default=0, description="Read from storage (page cache hits are not counted).")
    io_write_bytes: Count = Field(default=0, description="Written to storage.")


class ArtifactMetadata(BaseModel):
    """One file that an execution created or changed in its workspace."""

    model_config = ConfigDict(frozen=True)

    path: str = Field(description="Relative to the workspace.")
    size: Count = Field(description="Bytes.")
    mime_type: str = Field(default="application/octet-stream", description="By the name's extension.")
    type: Literal["artifact", "log", "output"] = Field(default="artifact", description="By the name's extension.")


class ExecutionResult(BaseModel):
    """How an execution ended. The body of a 200 from ``POST /execute``."""

    model_config = ConfigDict(frozen=True)

    execution_id: ExecutionId = Field(description="As in the request.")
    status: ResultStatus = Field(description="How it went.")
    reason: Reason = Field(description="Why, in one stable word.")
    message: str = Field(default="", description="The same in a sentence.")
    stdout: str = Field(default="", description="The first 10 MiB; what is no UTF-8 is replaced.")
    stderr: str = Field(default="", description="The first 10 MiB; what is no UTF-8 is replaced.")
    stdout_truncated: bool = Field(default=False, description="Whether there was more.")
    stderr_truncated: bool = Field(default=False, description="Whether there was more.")
    exit_code: ExitCode = Field(description="-1 on timeout and when the sandbox itself failed.")
    execution_time: Seconds = Field(description="Seconds.")
    return_value: JsonValue = Field(
        default=None, description="What the handler returned, or stood between the markers."
    )
    metrics: ExecutionMetrics
    artifacts: list[str] = Field(default_factory=list, description="Paths of the files that it created or changed.")
    artifact_metadata: list[ArtifactMetadata] = Field(default_factory=list, description="More about each of them.")
    outputs: list[OutputMetadata] = Field(
        default_factory=list, exclude_if=is_empty, description="What of it is in the operator's object store."
    )
    outputs_missing: OutputsMissing | None = Field(
        default=None, exclude_if=is_empty, description="Why something that belongs there is not."
    )


class ExecutionAccepted(BaseModel):
    """The body of a 202: the request had ``Prefer: respond-async``."""

    model_config = ConfigDict(frozen=True)

    execution_id: ExecutionId = Field(description="As in the request.")
    status: Literal["queued", "running", "success", "failed", "timeout", "error"] = Field(
        description="Where it is now; a repeated request may find it ended."
    )
    message: str = Field(description="The same in a sentence.")


class ExecutionState(BaseModel):
    """The body of ``GET /executions/{id}``: where it is, and once it has ended its result."""

    model_config = ConfigDict(frozen=True)

    execution_id: ExecutionId = Field(description="As in its request.")
    state: Literal["queued", "running", "ended"] = Field(description="Where it is.")
    epoch: int | None = Field(
        default=None, description="The X-Controller-Epoch that it was sent with; null: no controller sent it."
    )
    attempt: int = Field(default=1, description="The X-Execution-Attempt that it was sent with.")
    result: ExecutionResult | None = Field(default=None, description="How it ended, once it has.")

    @model_validator(mode="after")
    def _result_only_at_the_end(self) -> Self:
        if self.result is not None and self.state != "ended":
            raise ValueError("a result belongs to an ended execution")
        return self


class Tombstone(BaseModel):
    """The body of a 201 from ``PUT /executions/{id}/tombstone``: unknown here, and nothing will begin under this id."""

    model_config = ConfigDict(frozen=True)

    execution_id: ExecutionId = Field(description="As in the path.")
    state: Literal["absent"] = Field(default="absent", description="It was not known here.")


class ExecutionList(BaseModel):
    """The body of ``GET /executions``: active and recent ones, oldest first, without their results."""

    model_config = ConfigDict(frozen=True)

    executions: list[ExecutionState] = Field(description="Oldest first.")


class Health(BaseModel):
    """The body of ``GET /health`` with status 200."""

    model_config = ConfigDict(frozen=True)

    status: Literal["healthy"] = Field(default="healthy", description="It takes work.")
    version: str = Field(description="Of the executor.")
    uptime_seconds: float = Field(ge=0, description="Since its start.")
    active_executions: int = Field(ge=0, description="Those that run or wait.")
    unsent_reports: int = Field(
        default=0, ge=0, description="Results that the Control Plane has not taken yet; they go with this executor."
    )
    isolation: IsolationLevel = Field(description="How strong its sandboxes are.")
    limits_enforcement: LimitsEnforcement = Field(
        default="watchdog",
        description="What holds the memory, processes and CPU of a run: a cgroup of its own, or the executor's looks.",
    )
    run_id: str = Field(
        default="",
        pattern=f"^$|{RUN_ID_PATTERN}",
        description="Differs after every start: what was known before is forgotten.",
    )


class Unhealthy(BaseModel):
    """The body of ``GET /health`` with status 503."""

    model_config = ConfigDict(frozen=True)

    status: Literal["unhealthy"] = Field(default="unhealthy", description="It takes no work.")
    reason: str = Field(description="Why.")


def request_digest_fields(request: ExecutionRequest) -> dict[str, Any]:
    """What makes two requests with one ``execution_id`` the same one; the report token is not part of it."""
    fields = request.model_dump(mode="json", exclude={"report_token", "files"})
    return fields | {"files": [[file.path, hashlib.sha256(file.content).hexdigest()] for file in request.files]}
