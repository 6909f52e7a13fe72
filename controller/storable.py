"""What an API server can store of a status: what JSON's readers hold of a number, and no more than etcd takes.

An object is stored whole, spec and status together, and etcd refuses more than 1.5 MiB (``--max-request-bytes``). A
spec may come close to that by itself, and the API server writes some characters as six bytes; so what is
too long is only known when it has been refused, and is then cut.
"""

import math
from typing import Any, Final

from pydantic import JsonValue

from contracts.execution import ExecutionStatus
from contracts.output_events import STREAMS

TAILS: Final = ("stdout_tail", "stderr_tail")
"""What a status has of the two streams while it runs; its end has the output itself."""
_KEPT_BYTES: Final = (8192, 0)
"""Of each stream, after the first refusal and after the second."""
_KEPT_ARTIFACTS: Final = (20, 0)
_KEPT_TEXT: Final = 256
MAX_CUTS: Final = len(_KEPT_BYTES)


def can_store(value: JsonValue) -> bool:
    """Whether no number in it is beyond a double, which is all that the API server reads numbers into."""
    todo: list[JsonValue] = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            todo += part.values()
        elif isinstance(part, list):
            todo += part
        elif isinstance(part, int | float) and not _is_finite(part):
            return False
    return True


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def cut(status: ExecutionStatus, times: int) -> ExecutionStatus:
    """The status without most of what makes it long; ``times`` from 0, which cuts nothing, to ``MAX_CUTS``."""
    if times == 0:
        return status
    update: dict[str, Any] = {}
    for name in STREAMS:
        text = getattr(status, name)
        if text is not None and len(text.encode()) > _KEPT_BYTES[times - 1]:
            kept = text.encode()[len(text.encode()) - _KEPT_BYTES[times - 1] :].decode(errors="ignore")
            update |= {name: kept, f"{name}_truncated": True}
    update |= dict.fromkeys(TAILS)
    if status.return_value is not None:
        update |= {"return_value": None, "return_value_truncated": True}
    if status.outputs:
        update["outputs"] = status.outputs[: _KEPT_ARTIFACTS[times - 1]] or None
    if status.artifacts:
        update["artifacts"] = status.artifacts[: _KEPT_ARTIFACTS[times - 1]] or None
    if times == MAX_CUTS:
        update |= {"progress": None, **_shortened(status)}
    return status.model_copy(update=update)


def _shortened(status: ExecutionStatus) -> dict[str, Any]:
    found: dict[str, Any] = {
        "conditions": [
            item.model_copy(update={"message": item.message[:_KEPT_TEXT]}) for item in status.conditions or ()
        ]
    }
    if status.error is not None:
        texts = {name: value[:_KEPT_TEXT] for name, value in status.error if isinstance(value, str)}
        found["error"] = status.error.model_copy(update=texts)
    return found
