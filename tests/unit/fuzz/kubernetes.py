"""What the API server takes of a status, as far as our models alone do not see to it.

How long it may be depends on the spec beside it: what is refused for that is cut (``controller.storable``).
"""

import json
import math
from typing import Any

MAX_DEPTH = 300


def assert_storable(status: dict[str, Any]) -> None:
    """Strict JSON in UTF-8, not too deep, no number beyond a double or an int64, conditions within the CRD's bounds."""
    json.dumps(status, allow_nan=False, ensure_ascii=False).encode()
    _assert_values(status, 0)
    for condition in status.get("conditions", ()):
        assert len(condition["reason"]) <= 1024
        assert len(condition["message"]) <= 32_768
    for name in ("exitCode", "attempt", "stdoutBytes", "stderrBytes", "artifactsTotal"):
        assert -(2**63) <= status.get(name, 0) < 2**63, name
    for artifact in status.get("artifacts", ()):
        assert artifact["size"] < 2**63
    for name in ("ioReadBytes", "ioWriteBytes"):
        assert status.get("metrics", {}).get(name, 0) < 2**63


def _assert_values(value: Any, depth: int) -> None:
    assert depth <= MAX_DEPTH
    if isinstance(value, dict):
        for item in value.values():
            _assert_values(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _assert_values(item, depth + 1)
    elif isinstance(value, int):
        assert math.isfinite(float(value))
