"""One Execution in words: what a person asks who sees that it failed."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sandbox_executor_client.execution import Execution
from sandbox_run.reasons import explain
from sandbox_run.text import one_line, plain

_LABEL_WIDTH: Final = 13
_TAIL_LINES: Final = 10
_VALUE_CHARACTERS: Final = 200


def describe_execution(execution: Execution) -> str:
    """A few lines, each with a label; then the end of its stderr, or of its stdout when that is empty."""
    lines = [f"{label + ':':<{_LABEL_WIDTH}} {one_line(value)}" for label, value in _facts(execution) if value]
    return "\n".join([*lines, *_tail(execution)]) + "\n"


def _facts(execution: Execution) -> Iterator[tuple[str, str]]:
    status: Mapping[str, Any] = execution.raw.get("status") or {}
    meaning, advice = explain(execution)
    yield "Execution", f"{execution.namespace}/{execution.name}"
    why = f", reason {execution.reason}" if execution.reason and execution.phase != "Running" else ""
    yield "Phase", f"{execution.phase}{why}"
    yield "What", execution.message
    yield "That means", meaning
    yield "What to do", advice
    yield "Asked", _asked(execution)
    yield "Ran", _ran(execution, status)
    yield "Used", _used(execution)
    yield "Exit code", "" if execution.exit_code is None else str(execution.exit_code)
    yield "Returned", _returned(execution, status)
    yield "Output", _output(status)
    yield "Files", _files(execution, status)
    yield "Stored", _stored(status)
    yield "Told", _told(status)


def _asked(execution: Execution) -> str:
    spec = execution.spec
    parts = [str(spec.get("language", "")), f"pool {spec.get('pool')}", f"timeout {spec.get('timeoutSeconds')} s"]
    resources = spec.get("resources") or {}
    return ", ".join([*parts, *(f"{name} {value}" for name, value in resources.items())])


def _ran(execution: Execution, status: Mapping[str, Any]) -> str:
    if not execution.attempt:
        return ""
    node = f" on node {status['nodeName']}" if status.get("nodeName") else ""
    since = f", for {status['duration']}" if status.get("duration") else f", since {status.get('startTime', '?')}"
    pod = f" in pod {status['podName']}" if status.get("podName") else ""
    return f"attempt {execution.attempt}{pod}{node}{since}"


def _used(execution: Execution) -> str:
    metrics = execution.metrics
    if not metrics:
        return ""
    return (
        f"{metrics.get('durationMs', 0):.1f} ms of time, {metrics.get('cpuTimeMs', 0):.1f} ms of CPU, "
        f"{metrics.get('peakMemoryMB', 0):.1f} MiB of memory at most"
    )


def _returned(execution: Execution, status: Mapping[str, Any]) -> str:
    if status.get("returnValueTruncated"):
        return "more than the 64 KiB that the status keeps"
    if execution.return_value is None:
        return ""
    text = json.dumps(execution.return_value, ensure_ascii=False)
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}…"


def _output(status: Mapping[str, Any]) -> str:
    parts = []
    for name in ("stdout", "stderr"):
        if status.get(f"{name}Bytes") is not None:
            kept = " (the status keeps the end of it)" if status.get(f"{name}Truncated") else ""
            parts.append(f"{status[f'{name}Bytes']} bytes of {name}{kept}")
    return ", ".join(parts)


def _files(execution: Execution, status: Mapping[str, Any]) -> str:
    total = int(status.get("artifactsTotal") or 0)
    named = [f"{artifact.path} ({artifact.size} bytes)" for artifact in execution.artifacts[:5]]
    return ", ".join([*named, *([f"{total - len(named)} more"] if total > len(named) else [])])


def _stored(status: Mapping[str, Any]) -> str:
    """What the object store has, where there is one and something for it."""
    found = _condition(status, "OutputsStored")
    return str(found.get("message") or "") if found is not None else ""


def _told(status: Mapping[str, Any]) -> str:
    """What the Control Plane has heard, where there is one."""
    found = _condition(status, "Reported")
    if found is None:
        return ""
    message = f", {found['message']}" if found.get("message") else ""
    return f"the Control Plane: {found.get('reason')}{message}"


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    return next((each for each in status.get("conditions") or [] if each.get("type") == kind), None)


def _tail(execution: Execution) -> list[str]:
    name, text = ("stderr", execution.stderr) if execution.stderr.strip() else ("stdout", execution.stdout)
    if not text.strip():
        return []
    lines = plain(text.rstrip("\n")).split("\n")
    shown = lines[-_TAIL_LINES:]
    which = f"the last {len(shown)} lines of {name}" if len(lines) > len(shown) else name
    return ["", f"{which}:", *(f"  {line}" for line in shown)]
