"""Passes heartbeats on while an Execution runs. One that cannot go at once never goes: the next is five seconds off."""

import asyncio
from datetime import datetime
from typing import Any, Final

from contracts.control_plane_api import Heartbeat, heartbeat_path
from controller.clients.control_plane import Call
from controller.errors import NotLeader
from controller.metrics import Metrics
from controller.relay.channel import Channel

AT_A_TIME: Final = 32
TIMEOUT_S: Final = 5.0
_BODY_BYTES: Final = 65_536


class Heartbeats:
    """The heartbeats that are under way: one at most of each execution."""

    def __init__(self, channel: Channel, metrics: Metrics) -> None:
        self._channel = channel
        self._metrics = metrics
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def offer(self, execution_id: str, progress: dict[str, Any] | None, at: datetime) -> None:
        """Sends one, or drops it: when its predecessor is still under way, or too many are, or nobody answers."""
        full = len(self._under_way) >= AT_A_TIME or execution_id in self._under_way
        if full or not self._channel.circuit.closed:
            self._metrics.relay_heartbeats_dropped.inc()
            return
        body = _encode(Heartbeat(timestamp=at, progress=progress))
        call = Call(heartbeat_path(execution_id), body, timeout_s=TIMEOUT_S)
        task = asyncio.get_running_loop().create_task(self._send(execution_id, call))
        self._under_way[execution_id] = task

    async def end(self, execution_id: str) -> None:
        """Returns once none of this execution is under way, so that none comes after its result."""
        task = self._under_way.get(execution_id)
        if task is not None:
            await asyncio.wait([task])

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, execution_id: str, call: Call) -> None:
        try:
            await self._channel.post_if_closed("heartbeat", call)
        except NotLeader:
            pass  # the Lease has just been given back: whoever leads next hears the next one
        finally:
            self._under_way.pop(execution_id, None)


def _encode(beat: Heartbeat) -> bytes:
    leave_out = {"progress"} if beat.progress is None else None
    body = beat.model_dump_json(exclude=leave_out).encode()
    return body if len(body) <= _BODY_BYTES else beat.model_dump_json(exclude={"progress"}).encode()
