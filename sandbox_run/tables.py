"""Rows for a person, and the same rows for a program: tabs between the values, no heading."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sandbox_executor_client.execution import Execution
from sandbox_executor_client.pool import Pool
from sandbox_run.text import one_line

Row = Sequence[str]
EXECUTION_HEADING: Final = ("NAME", "PHASE", "REASON", "POOL", "EXIT", "DURATION", "AGE")
POOL_HEADING: Final = ("NAME", "READY", "REPLICAS", "BUSY", "FREE", "QUEUED", "AVAILABLE", "MESSAGE")
_GAP: Final = "   "
_COLOURS: Final[Mapping[str, str]] = {
    "Succeeded": "green",
    "Running": "cyan",
    "Pending": "yellow",
    "Failed": "red",
    "TimedOut": "red",
    "Crashed": "red",
    "Rejected": "red",
    "Cancelled": "magenta",
}


def execution_row(execution: Execution, now: datetime) -> Row:
    """As ``kubectl get exn`` has it."""
    status: Mapping[str, Any] = execution.raw.get("status") or {}
    exit_code = "" if execution.exit_code is None else str(execution.exit_code)
    created = execution.raw["metadata"].get("creationTimestamp")
    age = format_age((now - datetime.fromisoformat(created)).total_seconds()) if created else ""
    reason = execution.reason if execution.finished or execution.phase == "Pending" else ""
    pool = str(execution.spec.get("pool", ""))
    return (execution.name, execution.phase, reason, pool, exit_code, str(status.get("duration") or ""), age)


def pool_row(pool: Pool) -> Row:
    """As ``kubectl get epool`` has it, and what is wrong with it."""
    available = "" if pool.available is None else str(pool.available)
    counts = (pool.ready, pool.replicas, pool.busy, pool.free, pool.queued)
    return (pool.name, *(str(count) for count in counts), available, pool.message)


def format_age(seconds: float) -> str:
    """``5s``, ``12m``, ``3h``, ``4d``: one unit is enough."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def now() -> datetime:
    """The time that ages are counted from."""
    return datetime.now(UTC)


def write_rows(heading: Row, rows: Sequence[Row], *, raw: bool = False) -> None:
    """As columns under a heading, in colour on a terminal; ``raw``: tabs and no heading."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    if raw:
        sys.stdout.write("".join("\t".join(row) + "\n" for row in cells))
    elif sys.stdout.isatty():
        _write_in_colour(heading, cells)
    else:
        sys.stdout.write(_align([heading, *cells]))


def _align(rows: Sequence[Row]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = (_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(line.rstrip() + "\n" for line in lines)


def _write_in_colour(heading: Row, rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in heading:
        table.add_column(name, no_wrap=name == "NAME", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console().print(table)
