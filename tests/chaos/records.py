"""Logs of JSON lines."""

import contextlib
import json
from pathlib import Path
from typing import Any


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a log; a line that was cut off by a kill is passed over."""
    return parse_json_lines(path.read_text(errors="replace"))


def parse_json_lines(text: str) -> list[dict[str, Any]]:
    """As ``read_json_lines``."""
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                found.append(record)
    return found


def is_start(record: dict[str, Any]) -> bool:
    """Whether an executor's log record says that it begins to run code."""
    return record.get("event_type") == "execution_started"
