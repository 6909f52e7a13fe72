"""One call to the Control Plane: through the circuit, counted."""

from typing import Final

from contracts.control_plane_retry import Outcome
from controller.clients.control_plane import Answer, Call, ControlPlaneClient
from controller.metrics import Metrics
from controller.relay.circuit import Circuit
from controller.relay.clock import Clock

_UNANSWERED: Final = frozenset({Outcome.UNAUTHORIZED, Outcome.UNAVAILABLE, Outcome.UNREACHABLE})


class Channel:
    """The client, the circuit and the metrics together; calls of all kinds share the circuit."""

    def __init__(self, client: ControlPlaneClient, circuit: Circuit, metrics: Metrics, clock: Clock) -> None:
        self._client = client
        self.circuit = circuit
        self._metrics = metrics
        self._clock = clock

    async def post(self, kind: str, call: Call) -> Answer | None:
        """One attempt; None when the Control Plane has not answered lately and it is not yet time to try."""
        if not self.circuit.enter(self._clock.monotonic()):
            return None
        answered = False
        try:
            answer = await self._client.post(call)
            answered = answer.outcome not in _UNANSWERED
        finally:
            self.circuit.leave(self._clock.monotonic(), answered=answered)
        self._metrics.relay_attempts.labels(call=kind, outcome=answer.outcome.value).inc()
        return answer

    async def post_if_closed(self, kind: str, call: Call) -> Answer | None:
        """The same for what nobody misses: it is no probe, and its failure says nothing about the others."""
        if not self.circuit.closed:
            return None
        answer = await self._client.post(call)
        self._metrics.relay_attempts.labels(call=kind, outcome=answer.outcome.value).inc()
        return answer
