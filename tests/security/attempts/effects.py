"""What bombs, forgeries and leftovers do outside of the sandbox that made them, as far as they share it."""

import http.client
import time
from typing import TYPE_CHECKING, Final

from executor_runtime.workspace import Workspace, Workspaces
from tests.security.attempts.model import Outcome
from tests.security.attempts.snippets import Effect

if TYPE_CHECKING:
    from tests.security.attempts.world import World

LATE_S: Final = 3.0
"""An end is exact to a tenth of a second on an idle machine; this is for two cores that run other tests, too. Where it
is still late, the attempt is made again (``lanes``)."""
EXECUTOR_MEMORY_BYTES: Final = 512 * 2**20
"""Peak of the executor's own memory. It idles at 60 MiB, and holds a few copies of the largest results."""
_STAYS_S: Final = 5.0
_GONE_WITHIN_S: Final = 60.0
_FETCH_TIMEOUT_S: Final = 60.0
HELD: Final = "held until the end"
"""Code prints it when nothing ended it while it held what it took."""


def lived_for(seconds: float) -> Effect:
    """The run was let live that long: nothing ended it, and nothing that it needed was refused."""
    return lambda _world, outcome: outcome.result["status"] == "success" and outcome.elapsed_s >= seconds


def held(world: "World", outcome: Outcome) -> bool:
    """Nothing ended the run before it had held for ``hold_s`` what it took, whatever was said of it afterwards."""
    return HELD in outcome.result["stdout"].splitlines() and outcome.elapsed_s >= world.facts()["hold_s"]


def late(timeout_s: float) -> Effect:
    """The answer came long after the timeout, or something of the run is still there."""

    def effect(world: "World", outcome: Outcome) -> bool:
        if world.processes_left(outcome):
            return True
        world.late = outcome.elapsed_s > timeout_s + LATE_S
        return world.late

    return effect


def swelled(world: "World", _outcome: Outcome) -> bool:
    """The executor's own memory has grown beyond its bound (proc(5), VmHWM), or it is gone."""
    return executor_peak_bytes(world) > EXECUTOR_MEMORY_BYTES


def executor_peak_bytes(world: "World") -> int:
    """Its largest resident size so far; more than any bound where it has ended."""
    try:
        with open(f"/proc/{world.facts()['executor_pid']}/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return 2**63


def any_of(*effects: Effect) -> Effect:
    """One of them is seen."""
    return lambda world, outcome: any(effect(world, outcome) for effect in effects)


def listed(prefix: str, more_than: int = 0) -> Effect:
    """The result lists more artifacts than that whose names begin so."""

    def effect(_world: "World", outcome: Outcome) -> bool:
        paths: list[str] = outcome.result.get("artifacts", [])
        return sum(path.startswith(prefix) for path in paths) > more_than

    return effect


def workspace_stays(world: "World", outcome: Outcome) -> bool:
    """A workspace without artifacts is not removed soon after the end. Then it is removed here."""
    execution_id = outcome.result.get("execution_id", "")
    deadline = time.monotonic() + (_STAYS_S if world.proving else _GONE_WITHIN_S)
    while left := list(world.workspaces.glob(f"{execution_id}-*")):
        if time.monotonic() > deadline:
            for path in left:
                Workspaces(world.workspaces).remove(Workspace(path, 0, 0))
            return True
        time.sleep(0.05)
    return False


def sent_progress(world: "World", outcome: Outcome) -> list[object]:
    """What the Control Plane was told as progress of this execution."""
    calls = world.reports(str(outcome.result.get("execution_id")))
    return [call.body["progress"] for call in calls if call.kind == "heartbeat" and "progress" in call.body]


def fetch(world: "World", path: str) -> bytes:
    """The body that a GET of this path gives, which is sent as it is; nothing for a refusal."""
    connection = http.client.HTTPConnection("127.0.0.1", world.facts()["executor_port"], timeout=_FETCH_TIMEOUT_S)
    try:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        connection.putheader("Authorization", f"Bearer {world.secrets['execute_token']}")
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        return body if answer.status == 200 else b""
    except http.client.IncompleteRead as error:
        return error.partial
    finally:
        connection.close()
