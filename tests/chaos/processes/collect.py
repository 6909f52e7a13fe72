"""Makes evidence of what everybody else has written down: nothing here was written by the controller."""

from typing import TYPE_CHECKING

from tests.chaos import audit, recorded
from tests.chaos.evidence import Evidence, Start
from tests.chaos.load import Load
from tests.chaos.processes.pod import ExecutorPod
from tests.chaos.records import is_start, read_json_lines

if TYPE_CHECKING:
    from tests.chaos.processes.world import World


def collect(world: "World", load: Load) -> Evidence:
    """After everything has settled."""
    pods = [*world.pods, *world.neighbours, *world.gone]
    calls = world.control_plane.calls
    evidence = Evidence(
        starts=[start for pod in pods for start in _starts(pod)],
        ended_containers=[run for pod in pods for run in pod.ended],
        told=recorded.results(calls, world.monotonic_to_wall),
        exited=recorded.exits(calls),
    )
    return audit.collect(read_json_lines(world.server.audit_log), load, "controller", evidence)


def _starts(pod: ExecutorPod) -> list[Start]:
    return [
        Start(str(record["execution_id"]), int(record["attempt"]), f"{pod.name}/{path.stem}")
        for path in pod.logs
        for record in read_json_lines(path)
        if is_start(record)
    ]
