"""Whether a namespace may use a pool: ``allowedNamespaces`` against the namespace's labels."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from contracts.pool import LabelSelector, LabelSelectorRequirement
from controller import names
from controller.admission import Rejected
from controller.clients.kube import KubeClient
from controller.resources import Pool

_KEPT_S: Final = 30.0


class NamespaceGate:
    """Reads a namespace's labels when a pool asks for them, and keeps them for half a minute."""

    def __init__(self, kube: KubeClient, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._monotonic = monotonic
        self._labels: dict[str, tuple[float, Mapping[str, str]]] = {}

    async def check(self, namespace: str, pool: Pool) -> Rejected | None:
        """None when the namespace may use the pool.

        Raises:
            KubeError: the namespace could not be read.
        """
        selector = pool.spec.allowed_namespaces
        if selector is None or matches(selector, await self._read(namespace)):
            return None
        return Rejected(
            "NamespaceNotAllowed",
            f"pool {pool.name} does not allow Executions of namespace {namespace}",
            "use another pool, or have the namespace labelled as the pool's spec.allowedNamespaces asks",
        )

    async def _read(self, namespace: str) -> Mapping[str, str]:
        now = self._monotonic()
        kept = self._labels.get(namespace)
        if kept is None or now - kept[0] > _KEPT_S:
            body = await self._kube.get(names.namespace_path(namespace))
            kept = self._labels[namespace] = (now, body["metadata"].get("labels") or {})
        return kept[1]


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy a ``metav1.LabelSelector``; an empty one selects everything."""
    wanted = selector.match_labels or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _satisfies(requirement, labels) for requirement in selector.match_expressions or ()
    )


def _satisfies(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(requirement.key), requirement.values or []
    match requirement.operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None
