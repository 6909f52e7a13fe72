"""What people see: a line for each call in the log, and the page at ``/``.

Output and return values come from code that nobody trusts: in lines they are quoted and escaped, so that no control
character reaches a terminal; in the page they are escaped for HTML.
"""

import html
import json
from collections.abc import Iterable
from typing import Final

from pydantic import JsonValue

from contracts.control_plane_api import ContainerExited, ContainerReady, Heartbeat, ResultReport
from mock_control_plane.journal import Entry

_MAX_QUOTED_CHARS: Final = 80
_STYLE: Final = (
    "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "td,th{border:1px solid #999;padding:.3em .6em;text-align:left;vertical-align:top}"
    "pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}"
)


def describe(entry: Entry) -> str:
    """One line, printable ASCII."""
    subject = quote(entry.subject)[1:-1]
    return f"{entry.at:%H:%M:%S} {entry.status} {entry.kind:<9} {subject} {_summarize(entry)}".rstrip()


def describe_refusal(status: int, path: str, why: str) -> str:
    """The line of a call that was not taken. Nothing of its body is shown, and no token."""
    return f"refused  {status} {quote(path)} {quote(why)}"


def _summarize(entry: Entry) -> str:
    match entry.report:
        case ContainerReady(executor_port=port):
            return f"listens on port {port}"
        case ContainerExited(exit_code=code, exit_reason=reason):
            return f"exits with {code} ({reason})"
        case Heartbeat(progress=progress):
            return "still runs" if progress is None else f"still runs, progress {quote(progress)}"
        case ResultReport() as result:
            return _summarize_result(result)
    raise TypeError(f"no report: {type(entry.report).__name__}")


def _summarize_result(result: ResultReport) -> str:
    parts = [f"{result.status} ({result.reason}), exit code {result.exit_code}, {result.execution_time:.3f} s"]
    if result.stdout:
        parts.append(f"stdout {quote(result.stdout)}")
    if result.stderr:
        parts.append(f"stderr {quote(result.stderr)}")
    if result.return_value is not None:
        parts.append(f"returned {quote(result.return_value)}")
    if result.artifacts:
        parts.append(f"artifacts {quote(result.artifacts)}")
    return ", ".join(parts)


def quote(value: JsonValue | list[str] | dict[str, JsonValue]) -> str:
    """JSON in printable ASCII, cut off after 80 characters."""
    text = json.dumps(value).replace("\x7f", "\\u007f")
    return text if len(text) <= _MAX_QUOTED_CHARS else f"{text[:_MAX_QUOTED_CHARS]}..."


def build_document(entries: Iterable[Entry]) -> list[dict[str, JsonValue]]:
    """For programs: the calls as JSON, oldest first."""
    return [
        {
            "received_at": entry.at.isoformat(),
            "kind": entry.kind,
            "subject": entry.subject,
            "answered": entry.status,
            "body": entry.report.model_dump(mode="json"),
        }
        for entry in entries
    ]


def build_page(entries: Iterable[Entry]) -> str:
    """For people: the calls as a table that reloads itself, newest first."""
    rows = "".join(_row(entry) for entry in reversed(tuple(entries)))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">'
        f"<title>Mock Control Plane</title><style>{_STYLE}</style></head><body><h1>What the executor reported</h1>"
        "<table><tr><th>received</th><th>call</th><th>about</th><th>answered</th><th>body</th></tr>"
        f"{rows}</table></body></html>"
    )


def _row(entry: Entry) -> str:
    body = json.dumps(entry.report.model_dump(mode="json", exclude_defaults=True), indent=2, ensure_ascii=False)
    cells = (f"{entry.at:%H:%M:%S}", entry.kind, entry.subject, str(entry.status))
    plain = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f"<tr>{plain}<td><pre>{html.escape(body)}</pre></td></tr>"
