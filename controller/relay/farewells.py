"""Tells that an Execution was deleted before it ended. Nothing keeps that but this process: best effort."""

from dataclasses import dataclass
from typing import Final

from controller.identity import Identities
from controller.relay.backlog import Item
from controller.relay.channel import Channel
from controller.relay.courier import Failed, Later, Step, Told
from controller.relay.heartbeats import Heartbeats
from controller.relay.results import KIND as RESULT
from controller.relay.words import build_farewell, result_call
from controller.tracking import Tracked

KIND: Final = "farewell"


@dataclass(slots=True)
class FarewellItem(Item):
    """An Execution that is gone."""

    execution_id: str = ""


def make_item(tracked: Tracked, now: float) -> FarewellItem:
    """An Execution that was deleted while it waited or ran."""
    return FarewellItem(KIND, f"deleted/{tracked.uid}", now, execution_id=tracked.execution.execution_id)


class Farewells:
    """The sender of these."""

    def __init__(self, channel: Channel, identities: Identities, heartbeats: Heartbeats) -> None:
        self._channel = channel
        self._identities = identities
        self._heartbeats = heartbeats

    async def send(self, item: Item) -> Step:
        """One attempt.

        Raises:
            KubeError: the API server could not be asked who has the id now.
        """
        if not isinstance(item, FarewellItem):
            raise TypeError(f"not a farewell: {item.kind}")
        if await self._identities.find(item.execution_id):
            return Told()  # another Execution has this id, and its own end to tell
        await self._heartbeats.end(item.execution_id)
        answer = await self._channel.post(RESULT, result_call(build_farewell(item.execution_id, ended=False)))
        if answer is None:
            return Later()
        return Told() if answer.outcome.final else Failed()
