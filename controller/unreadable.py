"""Executions that the API server let in and our models do not: ended with the reason, never left without a word."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from contracts.execution import ExecutionStatus
from controller import names
from controller.clients.kube import KubeClient
from controller.errors import KubeError
from controller.facts import Refused
from controller.logs import get_logger
from controller.resources import Execution, parse_execution
from controller.status import advance

_SHOWN_CHARS: Final = 100
logger = get_logger(__name__)


def shorten(where: str) -> str:
    """The beginning of a path: how many steps it has, and how long each is, is the user's choice."""
    return where if len(where) <= _SHOWN_CHARS else f"{where[:_SHOWN_CHARS]}…"


async def parse_or_refuse(body: Mapping[str, Any], kube: KubeClient, now: datetime) -> Execution | None:
    """The Execution; None when its spec breaks a bound that the CRD cannot hold, and it has been Rejected for that."""
    try:
        return parse_execution(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    where = shorten(".".join(str(part) for part in first["loc"]) or "spec")
    metadata = body["metadata"]
    fact = Refused("InvalidSpec", f"spec.{where}: {first['msg']}", f"correct {where} in a new Execution", now)
    status = advance(ExecutionStatus(), fact, metadata.get("generation"))
    if status is None or (body.get("status") or {}).get("phase") == "Running":
        return None
    try:
        path = names.execution_path(metadata["namespace"], metadata["name"])
        await kube.merge_status(path, status.to_kube(), metadata.get("resourceVersion", ""))
    except KubeError as problem:
        logger.warning("an unreadable Execution could not be rejected", error=str(problem), name=metadata["name"])
    return None
