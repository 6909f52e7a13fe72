"""An ExecutorPool as a reader sees it: what it has, and whether it takes work."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pool:
    """One ExecutorPool at one moment; ``raw`` is the whole object."""

    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return str(self.raw["metadata"]["name"])

    @property
    def replicas(self) -> int:
        """Executor pods that it shall have."""
        return int((self.raw.get("spec") or {}).get("replicas", 1))

    @property
    def ready(self) -> int:
        """Executor pods that take work."""
        return self._count("readyReplicas")

    @property
    def busy(self) -> int:
        """Slots that run an Execution."""
        return self._count("busySlots")

    @property
    def free(self) -> int:
        """Slots that wait for one."""
        return self._count("freeSlots")

    @property
    def queued(self) -> int:
        """Executions that wait for a slot."""
        return self._count("queued")

    @property
    def available(self) -> bool | None:
        """Whether it takes work; None before the controller has seen it."""
        status = self._condition("Available").get("status")
        return None if status is None else status == "True"

    @property
    def message(self) -> str:
        """What is wrong with it, for a person; empty when nothing is."""
        degraded = self._condition("Degraded")
        if degraded.get("status") == "True":
            return str(degraded.get("message", ""))
        return "" if self.available else str(self._condition("Available").get("message", ""))

    @property
    def _status(self) -> Mapping[str, Any]:
        return self.raw.get("status") or {}

    def _count(self, field: str) -> int:
        return int(self._status.get(field) or 0)

    def _condition(self, kind: str) -> Mapping[str, Any]:
        conditions = self._status.get("conditions") or []
        return next((found for found in conditions if found.get("type") == kind), {})
