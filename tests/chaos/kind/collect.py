"""Makes evidence of the nodes' logs, the API server's audit log and what the Control Plane received."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from devcluster.audit import LOG_FILE
from tests.chaos import audit, recorded
from tests.chaos.evidence import ContainerRun, Evidence, Start
from tests.chaos.kind.nodes import KEPT, Nodes
from tests.chaos.load import Load
from tests.chaos.records import is_start, parse_json_lines
from tests.e2e.cluster import CONTROLLER, SYSTEM_NAMESPACE

if TYPE_CHECKING:
    from tests.chaos.kind.world import World


def collect(world: "World", load: Load) -> Evidence:
    """After everything has settled. Blocks."""
    nodes = world.nodes
    entries = parse_json_lines(nodes.run(nodes.control_plane, 'grep \'"executions"\' "$1"', LOG_FILE))
    running = {pod.container_id for pod in world.all_pods}
    evidence = Evidence(
        starts=[start for node in nodes.names for start in _starts(nodes, node)],
        ended_containers=[
            ContainerRun(pod, container_id, world.shown.get(container_id))
            for node in nodes.names
            for pod, container_id in _containers(nodes, node)
            if container_id not in running
        ],
        told=recorded.results(world.control_plane.calls, world.monotonic_to_wall),
        exited=recorded.exits(world.control_plane.calls),
    )
    return audit.collect(entries, load, f"system:serviceaccount:{SYSTEM_NAMESPACE}:{CONTROLLER}", evidence)


def _starts(nodes: Nodes, node: str) -> Iterator[Start]:
    """From the executors' logs; a line is ``FILE:TIME STREAM F RECORD``."""
    found = nodes.run(node, 'cd "$1" && grep -H \'"execution_started"\' *; true', f"{KEPT}/logs")
    for line in found.splitlines():
        file, _, rest = line.partition(":")
        for record in parse_json_lines(rest.split(" ", 3)[-1]):
            if is_start(record):
                yield Start(str(record["execution_id"]), int(record["attempt"]), file)


def _containers(nodes: Nodes, node: str) -> Iterator[tuple[str, str]]:
    """Pod and id of all that there were, by the links that the kubelet makes: ``POD_NAMESPACE_executor-ID.log``."""
    for name in nodes.run(node, 'ls "$1"', f"{KEPT}/containers").split():
        yield name.partition("_")[0], name.rpartition("-")[2].removesuffix(".log")
