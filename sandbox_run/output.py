"""What a command prints: a program's own output, whole objects, sentences on stderr."""

import json
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Literal

import yaml

from contracts.outputs import RETURN_VALUE
from sandbox_executor_client.execution import Execution
from sandbox_run.ended import Ended
from sandbox_run.text import for_terminal, one_line

program: ContextVar[str] = ContextVar("program", default="sandbox-run")
"""What the person has called, for sentences that name it."""
Format = Literal["table", "json", "yaml", "raw"]
_ITS_OWN: frozenset[str] = frozenset({"NonZeroExit", "HandlerRaised", "HandlerMissing", "ResultNotSerializable"})
"""Reasons of which the program's stderr has told already."""


def say(text: str) -> None:
    """One line for the person, on stderr."""
    sys.stdout.flush()
    sys.stderr.write(f"{program.get()}: {one_line(text)}\n")


def write_ended(ended: Ended, output: Format, *, is_shown: bool = False) -> None:
    """An Execution's end in the format that was asked for, and on stderr what its exit code alone would not say.

    ``is_shown``: its streams were printed while it ran.
    """
    if output in ("json", "yaml"):
        write_document(summary(ended.execution), output)
        return
    if not is_shown:
        write_streams(ended, raw=output == "raw")
    if output == "table" and ended.execution.return_value is not None:
        _write(sys.stdout, json.dumps(ended.execution.return_value, ensure_ascii=False) + "\n")
    tell_end(ended, is_shown=is_shown)


def write_streams(ended: Ended, *, raw: bool) -> None:
    """stdout to stdout, stderr to stderr; a terminal gets no control sequences but colours, unless ``raw``."""
    for stream, text in ((sys.stdout, ended.stdout), (sys.stderr, ended.stderr)):
        _write(stream, text if raw or not stream.isatty() else for_terminal(text))


def tell_end(ended: Ended, *, is_shown: bool = False) -> None:
    """On stderr: what is missing of the output, and how it ended when the program itself has not said so.

    ``is_shown``: its streams were printed while it ran, with what was missing.
    """
    status = ended.execution.raw.get("status") or {}
    for name, text in () if is_shown else (("stdout", ended.stdout), ("stderr", ended.stderr)):
        if status.get(f"{name}Truncated") and text == (status.get(name) or ""):
            size = status.get(f"{name}Bytes") or 0
            kept = f"of {name} these are the last {len(text.encode())} of {size} bytes or more"
            say(f"{kept}: {_where(ended.execution, name)}")
    if status.get("returnValueTruncated"):
        say(f"the return value is larger than 64 KiB: {_where(ended.execution, RETURN_VALUE)}")
    if not ended.execution.succeeded and ended.execution.reason not in _ITS_OWN:
        say(headline(ended.execution))
    elif sys.stderr.isatty():
        say(f"{ended.execution.phase} in {status.get('duration', '?')}")


def _where(execution: Execution, name: str) -> str:
    """Where the rest of something is."""
    if any(found.name == name for found in execution.outputs):
        return f"{program.get()} outputs {execution.name} {name} prints what the object store has of it"
    return "the status keeps no more"


def headline(execution: Execution) -> str:
    """``Failed (MemoryLimit): the code used more memory than its limit of 64 MiB; ask for less``."""
    advice = execution.failure.solution if execution.failure else ""
    reason = f" ({execution.reason})" if execution.reason and execution.reason != execution.phase else ""
    return f"{execution.phase}{reason}: {execution.message}{f'; {advice}' if advice else ''}"


def summary(execution: Execution) -> dict[str, Any]:
    """What ``run`` shows of an Execution: who it is, and how it ended."""
    return {
        "apiVersion": execution.raw.get("apiVersion"),
        "kind": execution.raw.get("kind"),
        "metadata": {"name": execution.name, "namespace": execution.namespace},
        "status": dict(execution.raw.get("status") or {}),
    }


def write_document(document: Mapping[str, Any], output: Format) -> None:
    """A whole object or list, as JSON or YAML, without what the API server notes for itself (as kubectl does)."""
    document = _without_managed_fields(document)
    if output == "json":
        _write(sys.stdout, json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    else:
        _write(sys.stdout, _as_yaml(document))


def _without_managed_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(document)
    if isinstance(found.get("metadata"), dict):
        found["metadata"] = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    if isinstance(found.get("items"), list):
        found["items"] = [_without_managed_fields(item) for item in found["items"]]
    return found


def _write(stream: Any, text: str) -> None:
    """As UTF-8 whatever the locale is: a program's output is passed on, not interpreted."""
    stream.flush()
    stream.buffer.write(text.encode("utf-8", "replace"))
    stream.buffer.flush()


def _as_yaml(document: Mapping[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, as people do."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> Any:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
