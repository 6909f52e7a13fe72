"""The values that go into a sandbox and come out of it.

They know nothing of HTTP or of bubblewrap, so that ``service`` and ``capture`` can be read
and tested without either.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from pydantic import JsonValue

from contracts import bounds
from contracts.executor_api import ExecutionLimits, ExecutionRequest, IsolationLevel, Language, LimitsEnforcement
from executor_runtime.sandbox.argv import Start
from executor_runtime.sandbox.disk import DiskUsage
from executor_runtime.sandbox.sources import BindSource

if TYPE_CHECKING:
    from executor_runtime.sandbox.cgroup import Cgroups
    from executor_runtime.workspace import Workspace

MIB: Final = 1_048_576
LaunchType = Literal["warm", "cold"]
"""Whether the sandbox was started before there was a job for it."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one run. Processes and open files are the seed's (T054)."""

    memory_bytes: int = 512 * MIB
    """Memory of the whole process tree and of the files in ``/tmp`` and ``/dev/shm``; more ends the run with
    ``MEMORY_LIMIT``."""
    cpu_seconds: int = 3600
    """CPU time of each process (RLIMIT_CPU)."""
    processes: int = 128
    """Processes and threads at a time (RLIMIT_NPROC inside the sandbox's own user namespace)."""
    open_files: int = 1024
    file_size_bytes: int = 1024 * MIB
    """Size of each file (RLIMIT_FSIZE)."""
    workspace_bytes: int = bounds.DEFAULT_WORKSPACE_BYTES
    """Disk space of the whole workspace, of a session's earlier runs too; more ends the run with ``DISK_LIMIT``."""
    workspace_entries: int = bounds.DEFAULT_WORKSPACE_ENTRIES
    """Files, directories and links in the workspace; the same number holds for ``/tmp`` and ``/dev/shm`` together."""
    tmp_bytes: int = 64 * MIB
    """Size of ``/tmp`` and, apart, of ``/dev/shm``; both are memory."""

    @property
    def workspace(self) -> DiskUsage:
        """What the workspace may hold."""
        return DiskUsage(self.workspace_bytes, self.workspace_entries)

    @classmethod
    def from_request(cls, asked: ExecutionLimits) -> Self:
        """The request's limits; what it leaves out has its default."""
        return cls(**asked.model_dump(exclude_none=True))


@dataclass(frozen=True)
class Job:
    """One run, as the sandbox takes it."""

    execution_id: str
    language: Language
    code: str
    workspace: "Workspace"
    timeout_s: float
    stdin: str = ""
    event: JsonValue = field(default_factory=dict)
    event_given: bool = True
    """False: when ``stdin`` is JSON, the handler gets that instead of ``event``."""
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_request(cls, request: ExecutionRequest, workspace: "Workspace") -> Self:
        """The job that a valid request asks for; the report token is not part of it."""
        return cls(
            execution_id=request.execution_id,
            language=request.language,
            code=request.code,
            workspace=workspace,
            timeout_s=request.timeout,
            stdin=request.stdin,
            event=request.event,
            event_given=request.event_given,
            env=dict(request.env_vars),
            limits=Limits.from_request(request.limits),
        )


class Ending(StrEnum):
    """Why a run ended."""

    EXITED = "exited"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    MEMORY_LIMIT = "memory_limit"
    DISK_LIMIT = "disk_limit"
    """``RawRun.overrun`` says which."""
    FAILED = "failed"
    """The sandbox itself failed; ``RawRun.failure`` says how."""


class Overrun(StrEnum):
    """Of which limit on disk space or files a run has taken more than it may."""

    WORKSPACE_BYTES = "workspace_bytes"
    WORKSPACE_ENTRIES = "workspace_entries"
    WORKSPACE_DEPTH = "workspace_depth"
    """Directories are nested deeper than is counted."""
    TMP_ENTRIES = "tmp_entries"
    VOLUME = "volume"
    """The disk of all workspaces is nearly full, and this run has written most."""


@dataclass(frozen=True)
class Stream:
    """What is kept of one output stream."""

    text: str = ""
    truncated: bool = False
    total_bytes: int = 0
    """Written by the user's processes, kept or not."""


@dataclass(frozen=True)
class Usage:
    """What the sandboxed processes used."""

    duration_s: float = 0.0
    """Wall time from the start of the sandbox to its end."""
    cpu_time_s: float = 0.0
    """User and system time of all descendants."""
    peak_memory_bytes: int = 0
    io_read_bytes: int = 0
    """Read from storage; page cache hits are not counted (getrusage(2), ru_inblock)."""
    io_write_bytes: int = 0


@dataclass(frozen=True)
class RawRun:
    """How a run ended, before ``capture`` makes a result of it."""

    ending: Ending
    usage: Usage
    exit_code: int | None = None
    """Of the user's process, when it exited."""
    signal: int | None = None
    """That ended the user's process, when one did."""
    stdout: Stream = field(default_factory=Stream)
    stderr: Stream = field(default_factory=Stream)
    returned: bytes | None = None
    """Raw bytes of the return channel; user code can forge them, about itself only."""
    overrun: Overrun | None = None
    """What of the disk it took too much of, however it ended; nothing of such a workspace stays."""
    workspace: DiskUsage = field(default_factory=DiskUsage)
    """What the workspace holds at the end, a session's earlier runs included; no more is counted than the limit."""
    failure: str = ""
    launch_type: LaunchType | None = None
    """None: no sandbox was given the job."""
    begun_at: float | None = None
    """When user code began, or the node or bash that runs it, by ``time.monotonic``; None: it has not."""


@dataclass(frozen=True)
class Isolation:
    """What ``probe`` found that works here; everything that a start needs."""

    level: IsolationLevel
    bwrap: str
    """Absolute path."""
    interpreters: Mapping[Language, str]
    """Language → absolute path under /usr."""
    init_code: bytes
    """``init.py`` as its interpreter compiled it, marshalled."""
    python_path: tuple[str, ...]
    """Where the Python interpreter imports from."""
    seccomp_filter: bytes
    """BPF program for ``bwrap --seccomp``."""
    links: tuple[tuple[str, str], ...] = ()
    """(path, target) of the links into /usr that a merged-/usr system has."""
    alternatives: bool = False
    """Whether the system has ``/etc/alternatives``."""
    sources: tuple[BindSource, ...] = ()
    """What is bound besides the workspace."""
    cgroups: "Cgroups | None" = None
    """Where runs get a cgroup of their own; None: they are watched instead."""
    cgroups_shortfall: str = ""
    """Why there are none, in one line."""
    shortfall: str = ""
    """Why the level is not ``full``, in one line."""

    @property
    def limits_enforcement(self) -> LimitsEnforcement:
        """What holds a run to its memory and processes."""
        return "watchdog" if self.cgroups is None else "cgroup"


def build_start(
    isolation: Isolation, workspace: Path, tmp_bytes: int, info_fd: int, job_fd: int = -1, seccomp_fd: int = -1
) -> Start:
    """What the command line is made of: of a request no more than its workspace's name and the size of ``/tmp``."""
    return Start(
        level=isolation.level,
        bwrap=isolation.bwrap,
        interpreter=isolation.interpreters["python"],
        workspace=str(workspace),
        tmp_bytes=tmp_bytes,
        links=isolation.links,
        alternatives=isolation.alternatives,
        job_fd=job_fd,
        seccomp_fd=seccomp_fd,
        info_fd=info_fd,
    )
