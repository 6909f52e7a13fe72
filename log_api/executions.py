"""Executions as this API sees them: who ran where, and whether it has ended."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from contracts.execution import TERMINAL_PHASES, ExecutionStatus
from contracts.ids import derive_execution_id
from controller import names
from controller.clients.kube import KubeClient
from controller.errors import KubeError, KubeNotFound
from log_api.errors import StatusError, not_found, unavailable

_PENDING: Final = "Pending"
_REFUSED: Final = "Rejected"
_WATCH_S: Final = 10
_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class View:
    """One Execution at one moment, without its code. ``status`` is kept of an ended one only: it holds its output."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    phase: str
    execution_id: str
    attempt: int
    pod_name: str
    executor_run: str
    max_retries: int
    status: ExecutionStatus | None

    @property
    def ended(self) -> bool:
        """Whether its phase is one that never changes again."""
        return self.phase in TERMINAL_PHASES

    @property
    def placed(self) -> bool:
        """Whether there is an executor to ask. One that was refused never ran, and its id may be another tenant's."""
        return bool(self.attempt and self.pod_name) and self.phase not in (_PENDING, _REFUSED)

    @property
    def may_be_retried(self) -> bool:
        """Whether another attempt may follow this one."""
        return not self.ended and self.attempt <= self.max_retries


def parse_view(body: Mapping[str, Any]) -> View:
    """An ``Execution`` from the API server.

    Raises:
        pydantic.ValidationError: its status is not one of ours.
    """
    metadata, spec = body["metadata"], body.get("spec") or {}
    status = ExecutionStatus.model_validate(body.get("status") or {})
    created = datetime.fromisoformat(metadata["creationTimestamp"])
    chosen = status.execution_id or spec.get("executionId")
    return View(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata.get("resourceVersion", ""),
        phase=status.phase or _PENDING,
        execution_id=chosen or derive_execution_id(created.date(), metadata["uid"]),
        attempt=status.attempt or 0,
        pod_name=status.pod_name or "",
        executor_run=status.executor_run or "",
        max_retries=spec.get("maxRetries", 0),
        status=status if status.phase in TERMINAL_PHASES else None,
    )


class Executions:
    """Reads them, and waits until one changes."""

    def __init__(self, kube: KubeClient, watch_s: int = _WATCH_S) -> None:
        self._kube = kube
        self._watch_s = watch_s

    async def read(self, namespace: str, name: str) -> View:
        """One Execution as it is now.

        Raises:
            StatusError: 404, or 503 where the API server does not say.
        """
        try:
            return _parse(await self._kube.get(names.execution_path(namespace, name)))
        except KubeNotFound:
            raise not_found(name) from None
        except KubeError as error:
            raise unavailable("the Execution could not be read", name) from error

    async def wait_change(self, view: View) -> View | None:
        """The Execution once it is another than the view, or None after some seconds without that.

        Raises:
            StatusError: 404: it was deleted, or is another one of that name by now; 503.
        """
        try:
            changed = await self._next(view)
        except KubeError:  # above all 410: the version is too old to begin a watch with
            await asyncio.sleep(_PAUSE_S)
            changed = await self.read(view.namespace, view.name)
        if changed is None or changed.resource_version == view.resource_version:
            return None
        if changed.uid != view.uid:
            raise not_found(view.name)
        return changed

    async def _next(self, view: View) -> View | None:
        events = self._kube.watch(
            names.executions_path(view.namespace),
            view.resource_version,
            self._watch_s,
            fieldSelector=f"metadata.name={view.name}",
        )
        async with aclosing(events) as watched:
            async for event in watched:
                if event["type"] == "DELETED":
                    raise not_found(view.name)
                return _parse(event["object"])
        return None


def _parse(body: Mapping[str, Any]) -> View:
    try:
        return parse_view(body)
    except ValidationError:
        raise StatusError(500, "the Execution's status is not one that this version can read") from None
