"""The form of a log record that controller and executor share: one line of strict, ASCII-only JSON.

User code and its errors end up in records. No newline, ANSI sequence or Unicode line separator of theirs may break
a line or a terminal, and nothing that JSON cannot hold may lose a record.
"""

import json
import math
from collections.abc import Mapping
from typing import Any


def render_record(record: Mapping[str, Any]) -> str:
    """The record as one line; what JSON has no form for (bytes, exceptions, NaN, keys that are no text) as ``repr``."""
    line = json.dumps(_plain(record), ensure_ascii=True, allow_nan=False, default=repr)
    return line.replace("\x7f", "\\u007f")  # the one control character that JSON lets stand


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else repr(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
