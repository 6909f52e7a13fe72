"""Makes an ExecutionResult of what a sandbox gave. Pure: the same run always has the same result.

``exit_code`` follows the shell's convention, 128 + signal, for a run that a signal ended; -1 is for the two
cases that ``spec.md`` names, timeout and a sandbox that failed.
"""

import json
import math
import re
import signal
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue

from contracts import bounds
from contracts.executor_api import ArtifactMetadata, ExecutionMetrics, ExecutionResult, Reason, ResultStatus
from executor_runtime.sandbox.disk import MAX_DEPTH as MAX_NESTING
from executor_runtime.sandbox.model import MIB, Ending, Job, Limits, Overrun, RawRun, Stream, Usage

MAX_DEPTH: Final = 190
"""Levels of a return value. Readers of a result, in which it lies one or two levels down, stop at 200 (pydantic)."""

MAX_CONTAINERS: Final = 200_000
"""Lists and objects of a return value. In memory an empty one takes 64 bytes, in JSON two or three: ten megabytes of
them were half a gigabyte in the executor, and stopped it for more than a second."""

MAX_STREAM_JSON_BYTES: Final = 3 * bounds.MAX_STREAM_BYTES
"""Of one stream; bytes that were no UTF-8 take three. A control character takes six: ten megabytes of them were sixty,
in each of the copies that a result is made in."""

_PIECE_CHARS: Final = 262_144
"""So many are counted at a time: of a long stream there are copies enough at its end."""

MARKER: Final = "===SANDBOX_RESULT==="
"""Before and after the return value that JavaScript and shell code prints (T021)."""

_MAX_MARKERS: Final = 1000
"""Looked at, from the end: code that prints nothing else must not keep the executor busy."""

_ESCAPED: Final = bytes(set(range(32)) - set(b"\b\t\n\f\r"))
"""Characters that JSON writes as six bytes."""

_KILLED: Final = 128 + signal.SIGKILL
_MAY_OVERFLOW: Final = re.compile(rb"[eE]\+?[0-9]{2}|[0-9]{300}")


@dataclass(frozen=True)
class Verdict:
    """What the ending means."""

    status: ResultStatus
    reason: Reason
    exit_code: int
    message: str
    value: JsonValue = None


_NOTHING_RETURNED: Final = "the code exited with 0 and returned no value"
_RETURNED: Final = "the code exited with 0 and returned a value"


def capture(job: Job, raw: RawRun, artifacts: Sequence[ArtifactMetadata]) -> ExecutionResult:
    """The result of a run that has ended."""
    verdict = judge(job, raw)
    out, err = bound(raw.stdout), bound(raw.stderr)
    stdout, value = (out.text, verdict.value) if job.language == "python" else split_marked(out.text)
    return ExecutionResult(
        execution_id=job.execution_id,
        status=verdict.status,
        reason=verdict.reason,
        message=_RETURNED if verdict.message == _NOTHING_RETURNED and value is not None else verdict.message,
        stdout=stdout,
        stderr=err.text,
        stdout_truncated=out.truncated,
        stderr_truncated=err.truncated,
        exit_code=verdict.exit_code,
        execution_time=raw.usage.duration_s,
        return_value=value if verdict.status == "success" else None,
        metrics=build_metrics(raw.usage),
        artifacts=[artifact.path for artifact in artifacts],
        artifact_metadata=list(artifacts),
    )


def bound(stream: Stream) -> Stream:
    """The stream, or its beginning where it would take more than ``MAX_STREAM_JSON_BYTES`` in JSON."""
    if 6 * len(stream.text) <= MAX_STREAM_JSON_BYTES:
        return stream
    pieces = (stream.text[at : at + _PIECE_CHARS] for at in range(0, len(stream.text), _PIECE_CHARS))
    if sum(_json_bytes(piece.encode("utf-8", "replace")) for piece in pieces) <= MAX_STREAM_JSON_BYTES:
        return stream
    whole = stream.text.encode("utf-8", "replace")
    fits = bisect_right(range(1, len(whole)), MAX_STREAM_JSON_BYTES, key=lambda end: _json_bytes(whole[:end]))
    return Stream(whole[:fits].decode(errors="ignore"), True, stream.total_bytes)


def _json_bytes(text: bytes) -> int:
    return len(text) + 5 * (len(text) - len(text.translate(None, _ESCAPED)))


def split_marked(text: str) -> tuple[str, JsonValue]:
    """(stdout without what it marks as return value, that value), for JavaScript and shell (T021).

    Between two markers stands JSON. Of several such pairs the last one counts; a marker without a second one, and
    a pair around something else than JSON, is output like any other.
    """
    pieces = text.rsplit(MARKER, _MAX_MARKERS)
    plain = [pieces[0]]
    at_line_start = not pieces[0] or pieces[0].endswith("\n")
    value: JsonValue = None
    at = 1
    while at + 1 < len(pieces):
        try:
            value = parse_value(pieces[at].strip().encode())
            plain.append(pieces[at + 1].removeprefix("\n") if at_line_start else pieces[at + 1])
            at += 2
        except ValueError:
            plain.append(MARKER + pieces[at])
            at += 1
        at_line_start = plain[-1].endswith("\n") if plain[-1] else at_line_start
    plain += [MARKER + piece for piece in pieces[at:]]
    return "".join(plain), value


def build_metrics(usage: Usage) -> ExecutionMetrics:
    """The same in the units of the API."""
    return ExecutionMetrics(
        duration_ms=usage.duration_s * 1000,
        cpu_time_ms=usage.cpu_time_s * 1000,
        peak_memory_mb=usage.peak_memory_bytes / MIB,
        io_read_bytes=usage.io_read_bytes,
        io_write_bytes=usage.io_write_bytes,
    )


def judge(job: Job, raw: RawRun) -> Verdict:
    """Status, reason and exit code of each ending."""
    match raw.ending:
        case Ending.FAILED:
            return Verdict("error", "SandboxError", -1, f"the sandbox failed: {raw.failure}")
        case Ending.TIMED_OUT:
            return Verdict("timeout", "TimedOut", -1, f"the code ran longer than its timeout of {job.timeout_s:g} s")
        case Ending.CANCELLED:
            return Verdict("failed", "Cancelled", _KILLED, "the execution was cancelled")
        case Ending.MEMORY_LIMIT:
            limit = f"{job.limits.memory_bytes / MIB:g} MiB"
            return Verdict("failed", "MemoryLimit", _KILLED, f"the code used more memory than its limit of {limit}")
        case Ending.DISK_LIMIT:
            return Verdict("failed", "DiskLimit", _KILLED, explain_overrun(raw.overrun, job.limits))
        case Ending.EXITED if raw.signal is not None:
            return _judge_signal(raw.signal, job.limits)
        case Ending.EXITED:
            return _judge_exit(raw.exit_code or 0, raw.returned)


def explain_overrun(what: Overrun | None, limits: Limits) -> str:
    """Which limit it was, for a person."""
    match what:
        case Overrun.WORKSPACE_BYTES:
            return f"the workspace held more than its limit of {limits.workspace_bytes / MIB:g} MiB"
        case Overrun.WORKSPACE_ENTRIES:
            return f"the workspace held more files and directories than its limit of {limits.workspace_entries}"
        case Overrun.WORKSPACE_DEPTH:
            return f"directories in the workspace were nested deeper than {MAX_NESTING} levels"
        case Overrun.TMP_ENTRIES:
            return f"/tmp and /dev/shm held more files and directories than the limit of {limits.workspace_entries}"
        case Overrun.VOLUME | None:
            return "the disk of all workspaces was nearly full, and of all executions this one had written most"


def _judge_signal(number: int, limits: Limits) -> Verdict:
    code = 128 + number
    if number == signal.SIGXFSZ:
        limit = f"{limits.file_size_bytes} bytes"
        return Verdict("failed", "DiskLimit", code, f"the code wrote a file larger than its limit of {limit}")
    if number == signal.SIGXCPU:
        message = f"a process used more CPU time than its limit of {limits.cpu_seconds} s (SIGXCPU)"
        return Verdict("failed", "Signaled", code, message)
    return Verdict("failed", "Signaled", code, f"the process was ended by {signal_name(number)}")


def signal_name(number: int) -> str:
    """``SIGSEGV``, or ``signal 35`` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _judge_exit(code: int, returned: bytes | None) -> Verdict:
    """The exit code decides between success and failure; the return channel only says more about it."""
    outcome, _, body = (returned or b"").partition(b"\n")
    detail = body.decode(errors="replace")
    if code == 0:
        if outcome != b"returned":
            return Verdict("success", "Completed", 0, _NOTHING_RETURNED)
        try:
            return Verdict("success", "Completed", 0, "the handler returned", parse_value(body))
        except ValueError as error:
            return Verdict("failed", "ResultNotSerializable", 1, f"the return value cannot be used: {error}")
    match outcome:
        case b"handler_missing":
            return Verdict("failed", "HandlerMissing", code, "handler is not defined: define def handler(event)")
        case b"raised":
            return Verdict("failed", "HandlerRaised", code, f"the code raised {detail[:200]}; stderr has the traceback")
        case b"not_serializable":
            return Verdict("failed", "ResultNotSerializable", code, f"the return value is not JSON: {detail[:200]}")
    return Verdict("failed", "NonZeroExit", code, f"the code exited with {code}")


def parse_value(body: bytes) -> JsonValue:
    """Strict JSON, of bounded depth, that can be written as JSON again; user code may have forged it.

    Raises:
        ValueError: it is not that.
    """
    parse_float, parse_int = (_finite, _whole) if _MAY_OVERFLOW.search(body) else (None, None)
    brackets = body.count(b"[") + body.count(b"{")
    if brackets > MAX_CONTAINERS and _count_containers(body) > MAX_CONTAINERS:
        raise ValueError(f"it has more than {MAX_CONTAINERS} lists and objects")
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant, parse_float=parse_float, parse_int=parse_int)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if brackets > MAX_DEPTH and _depth_over(value, MAX_DEPTH):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if b"\\u" in body:
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8: UnicodeEncodeError
    return value  # type: ignore[no-any-return]


def _count_containers(body: bytes) -> int:
    """Opening brackets outside of strings, without parsing; what is no JSON has some number too."""
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(unescaped.split(b'"')[::2])
    return outside.count(b"[") + outside.count(b"{")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _whole(text: str) -> int:
    """Other readers have no more than a double for it; an API server refuses a status that holds a larger one."""
    _finite(text)
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _depth_over(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        parts: list[Any] = []
        for container in level:
            if isinstance(container, dict):
                parts += container.values()
            elif isinstance(container, list):
                parts += container
        level = [part for part in parts if isinstance(part, dict | list)]
        if not level:
            return False
    return True
