"""Tells when an executor container became ready and how it ended: ready first, each once for each container run.

What is untold stands in the pools' ``status.containers``. A controller that ends between an answer and
that write tells it once more, with the same ``Idempotency-Key``.
"""

from typing import Final

from pydantic import BaseModel

from contracts.control_plane_api import CONTAINER_EXITED_PATH, CONTAINER_READY_PATH, ContainerExited, ContainerReady
from contracts.control_plane_retry import Outcome
from controller.clients.control_plane import Call
from controller.containers import ContainerRuns, Exit, Heard, Run
from controller.logs import get_logger
from controller.relay.backlog import Item
from controller.relay.channel import Channel
from controller.relay.courier import Failed, Later, Step, Told

KIND: Final = "lifecycle"
logger = get_logger(__name__)


def make_item(run: Run, now: float) -> Item:
    """A run of which something is untold."""
    return Item(KIND, run.key, now)


class Lifecycle:
    """The sender of ``container_ready`` and ``container_exited``."""

    def __init__(self, channel: Channel, runs: ContainerRuns) -> None:
        self._channel = channel
        self._runs = runs

    async def send(self, item: Item) -> Step:
        """One attempt at what comes next of this run."""
        run = self._runs.get(item.key)
        if run is None or not run.untold:
            return Told()
        heard: Heard = "Exited"
        if run.ready is not None and run.reported is None:
            heard, call = "Ready", _call(run, "ready", CONTAINER_READY_PATH, _ready(run))
        elif run.exit is not None:
            call = _call(run, "exited", CONTAINER_EXITED_PATH, _exited(run, run.exit))
        else:
            return Told()
        answer = await self._channel.post(KIND, call)
        if answer is None:
            return Later()
        if not answer.outcome.final:
            return Failed()
        if answer.outcome is not Outcome.ACCEPTED:
            logger.error("the Control Plane refuses a call", path=call.path, pod=run.pod_name, answer=answer.detail)
        self._runs.told(run, heard)
        item.attempts = 0
        return Later(0.0) if run.untold else Told()


def _call(run: Run, event: str, path: str, body: BaseModel) -> Call:
    return Call(path, body.model_dump_json().encode(), f"{run.pod_uid}-{run.container_id}-{event}")


def _ready(run: Run) -> ContainerReady:
    assert run.ready is not None
    return ContainerReady(
        container_id=run.container_id, pod_name=run.pod_name, executor_port=run.port, ready_at=run.ready
    )


def _exited(run: Run, exit_: Exit) -> ContainerExited:
    return ContainerExited(
        container_id=run.container_id,
        pod_name=run.pod_name,
        exit_code=exit_.code,
        exit_reason=exit_.reason,
        exited_at=exit_.time,
    )
