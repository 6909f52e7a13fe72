"""Who owns an execution id: one Execution in the whole cluster, and the older one where two ask for it.

What runs or waits is known here; what has ended is looked up on the server, which can
select by id (``selectableFields``).
"""

from typing import Final

from pydantic import ValidationError

from controller import names
from controller.admission import Rejected
from controller.clients.kube import KubeClient
from controller.resources import Execution, parse_execution
from controller.tracking import Registry, Stage, Tracked

_FIELDS: Final = ("spec.executionId", "status.executionId")


class Identities:
    """Answers questions about execution ids."""

    def __init__(self, registry: Registry, kube: KubeClient) -> None:
        self._registry = registry
        self._kube = kube

    def check(self, tracked: Tracked) -> Rejected | Tracked | None:
        """Makes an Execution the owner of its id.

        Returns:
            None when it is; a verdict when an older one has the id; the younger one that has
            lost it, when that only waits.
        """
        execution_id = tracked.execution.execution_id
        owner, ended = self._registry.owner(execution_id), self._registry.ended(execution_id)
        if owner is not None and owner is not tracked:
            if owner.stage is not Stage.WAITING or owner.execution.order <= tracked.execution.order:
                return duplicate(execution_id)
            self._registry.give_id(tracked)
            return owner
        if ended is not None and ended.uid != tracked.uid:
            return duplicate(execution_id)
        self._registry.give_id(tracked)
        return None

    async def confirm(self, execution: Execution) -> Rejected | None:
        """Looks on the server whether an id that a user chose was used before, also by one that has ended.

        Raises:
            KubeError: the server could not be asked.
        """
        if execution.spec.execution_id is None:
            return None
        for other in await self.find(execution.execution_id):
            used = other.status.attempt is not None or (not other.ended and other.order < execution.order)
            if other.uid != execution.uid and used:
                return duplicate(execution.execution_id)
        return None

    async def find(self, execution_id: str) -> list[Execution]:
        """The Executions that name this id in their spec or have it in their status.

        Raises:
            KubeError: the server could not be asked.
        """
        found: dict[str, Execution] = {}
        for field in _FIELDS:
            selector = f"{field}={execution_id}"
            async for page in self._kube.list_pages(names.executions_path(), fieldSelector=selector):
                for body in page:
                    try:
                        found[body["metadata"]["uid"]] = parse_execution(body)
                    except ValidationError:
                        continue
        return list(found.values())


def duplicate(execution_id: str) -> Rejected:
    """The verdict on the younger of two."""
    return Rejected(
        "DuplicateExecutionId",
        f"another Execution already has the execution id {execution_id}",
        "write another spec.executionId, or leave it out and one is made",
    )
