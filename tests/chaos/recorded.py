"""What the recording Control Plane has received, as evidence."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.chaos.evidence import Told
from tests.fakes.control_plane import Call

_TAKEN = (200, 201, 204)
_CUT = ("stdout_truncated", "stderr_truncated", "return_value_truncated")
_PARTS = ("stdout", "stderr", "return_value", "artifacts", "artifact_metadata", *_CUT)


def results(calls: Iterable[Call], monotonic_to_wall: float) -> list[Told]:
    """Every result that came, whatever it was answered."""
    return [
        Told(
            call.execution_id,
            str(call.body.get("status")),
            call.answered if isinstance(call.answered, int) else 0,
            call.at + monotonic_to_wall,
            json.dumps({name: said for name, said in call.body.items() if name not in _PARTS}, sort_keys=True),
            any(call.body.get(name) for name in _CUT),
        )
        for call in calls
        if call.kind == "result"
    ]


def exits(calls: Iterable[Call]) -> list[Mapping[str, Any]]:
    """Bodies of the ``container_exited`` calls that it took; what came again under its key is one."""
    taken = [call for call in calls if call.kind == "exited" and call.answered in _TAKEN]
    return list({call.headers.get("Idempotency-Key", ""): call.body for call in taken}.values())
