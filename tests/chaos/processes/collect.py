"""Makes evidence of what everybody else has written down: nothing here was written by the controller."""

from typing import TYPE_CHECKING

from tests.chaos import audit
from tests.chaos.evidence import Evidence, Start, Told
from tests.chaos.load import Load
from tests.chaos.processes.pod import ExecutorPod
from tests.chaos.records import is_start, read_json_lines

if TYPE_CHECKING:
    from tests.chaos.processes.world import World

_TAKEN = (200, 201, 204)


def collect(world: "World", load: Load) -> Evidence:
    """After everything has settled."""
    pods = [*world.pods, *world.neighbours, *world.gone]
    calls = world.control_plane.calls
    exits = [call for call in calls if call.kind == "exited" and call.answered in _TAKEN]
    return audit.collect(
        read_json_lines(world.server.audit_log),
        load,
        "controller",
        Evidence(
            starts=[start for pod in pods for start in _starts(pod)],
            ended_containers=[run for pod in pods for run in pod.ended],
            told=[
                Told(
                    call.execution_id,
                    str(call.body.get("status")),
                    call.answered if isinstance(call.answered, int) else 0,
                    call.at + world.monotonic_to_wall,
                )
                for call in calls
                if call.kind == "result"
            ],
            exited=list({call.headers.get("Idempotency-Key", ""): call.body for call in exits}.values()),
        ),
    )


def _starts(pod: ExecutorPod) -> list[Start]:
    return [
        Start(str(record["execution_id"]), int(record["attempt"]), f"{pod.name}/{path.stem}")
        for path in pod.logs
        for record in read_json_lines(path)
        if is_start(record)
    ]
