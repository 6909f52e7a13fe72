"""What the recording Control Plane has received, as evidence."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.chaos.evidence import Told
from tests.fakes.control_plane import Call

_TAKEN = (200, 201, 204)


def results(calls: Iterable[Call], monotonic_to_wall: float) -> list[Told]:
    """Every result that came, whatever it was answered."""
    return [
        Told(
            call.execution_id,
            str(call.body.get("status")),
            call.answered if isinstance(call.answered, int) else 0,
            call.at + monotonic_to_wall,
        )
        for call in calls
        if call.kind == "result"
    ]


def exits(calls: Iterable[Call]) -> list[Mapping[str, Any]]:
    """Bodies of the ``container_exited`` calls that it took; what came again under its key is one."""
    taken = [call for call in calls if call.kind == "exited" and call.answered in _TAKEN]
    return list({call.headers.get("Idempotency-Key", ""): call.body for call in taken}.values())
