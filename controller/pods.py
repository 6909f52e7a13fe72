"""Which executor pods there are, and which of them take work now.

A pod takes work when it is not going away and either its Ready condition is true or its
executor has said by itself that it is ready, which is up to a probe period sooner.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from controller.departures import explain_departure
from controller.placement import Placement
from controller.resources import Pod, Pool
from controller.tracking import is_older

_DEFAULT_CAPACITY: Final = 1
_KUBELET_ROUNDING: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class PodChange:
    """What a newer view of a pod means: the pod as it was and is, and whether its executor container has ended."""

    before: Pod | None
    after: Pod
    container_ended: bool


class Pods:
    """The executor pods by name, and what ``placement`` is told about them."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._pods: dict[str, Pod] = {}
        self._pools: dict[str, Pool] = {}
        self._said_ready: dict[str, tuple[str, datetime]] = {}
        """By the address that the word came from: the pod that is meant, and when. All executors share the token for
        such words, so only the pod's own address is believed, and none can say more than one."""
        self.isolation: dict[str, str] = {}
        self.run_ids: dict[str, str] = {}
        """Which run of a pod's executor was last seen (``Health.run_id``)."""
        self.silent: set[str] = set()
        """Pods whose executors do not answer (``silence``)."""

    def __iter__(self) -> Iterator[Pod]:
        return iter(list(self._pods.values()))

    def get(self, name: str) -> Pod | None:
        """The pod as last seen."""
        return self._pods.get(name)

    def of_pool(self, pool: str) -> list[Pod]:
        """The pods of a pool."""
        return [pod for pod in self._pods.values() if pod.pool == pool]

    def set_pool(self, pool: Pool) -> None:
        """Takes over a pool's concurrency."""
        self._pools[pool.name] = pool
        for pod in self.of_pool(pool.name):
            self._offer(pod)

    def lose_pool(self, name: str) -> None:
        """Stops placing on a pool's pods."""
        self._pools.pop(name, None)
        for pod in self.of_pool(name):
            self._offer(pod)

    def see(self, pod: Pod) -> PodChange:
        """Takes over a newer view of a pod."""
        before = self._pods.get(pod.name)
        if before is not None and before.uid != pod.uid:
            self.lose(pod.name)
            before = None
        if before is not None and is_older(pod.resource_version, before.resource_version):
            return PodChange(before, before, container_ended=False)  # a list may be behind the watch
        pod = self._with_departure(before, pod)
        ended = _container_ended(before, pod)
        name, said = self._said_ready.get(pod.ip, ("", None))
        if name == pod.name and said is not None and _ended_after(pod, said):
            del self._said_ready[pod.ip]
        if ended:
            self.isolation.pop(pod.name, None)
            self.run_ids.pop(pod.name, None)
            self.silent.discard(pod.name)
        self._pods[pod.name] = pod
        self._offer(pod)
        return PodChange(before, pod, ended)

    def _with_departure(self, before: Pod | None, pod: Pod) -> Pod:
        """Why it goes is seen when it is marked, and kept; who has just started has not seen that."""
        if before is None or not pod.deleting:
            return pod
        if before.deleting:
            return replace(pod, leaving=before.leaving or pod.leaving)
        others = [other for other in self.of_pool(pod.pool) if other.name != pod.name]
        return replace(pod, leaving=explain_departure(pod, others, self._pools.get(pod.pool)))

    def lose(self, name: str) -> frozenset[str]:
        """Forgets a pod that is gone; returns the uids of the Executions that held its slots."""
        self._pods.pop(name, None)
        self._said_ready = {address: said for address, said in self._said_ready.items() if said[0] != name}
        self.isolation.pop(name, None)
        self.run_ids.pop(name, None)
        self.silent.discard(name)
        return self._placement.remove_pod(name)

    def hush(self, name: str) -> None:
        """Its executor does not answer: no more work until it does."""
        pod = self._pods.get(name)
        if pod is not None:
            self.silent.add(name)
            self._offer(pod)

    def wake(self, name: str) -> None:
        """Its executor answers."""
        self.silent.discard(name)
        pod = self._pods.get(name)
        if pod is not None:
            self._offer(pod)

    def say_ready(self, name: str, at: datetime, address: str) -> Pod | None:
        """An executor says that it takes work (``container_ready``); the pod, where it is one that may say so.

        The word of a pod whose address is not known yet counts once that is.
        """
        self._said_ready[address] = (name, at)
        pod = self._pods.get(name)
        if pod is None or pod.ip != address:
            return None
        self.run_ids.pop(name, None)
        self.silent.discard(name)
        self._offer(pod)
        return pod

    def say_exited(self, name: str, address: str) -> None:
        """Its executor says that it ends: no more work until it is ready again."""
        said = self._said_ready.get(address)
        if said is not None and said[0] == name:
            del self._said_ready[address]

    def accepts(self, pod: Pod) -> bool:
        """Whether a pod takes work now."""
        alive = pod.pool in self._pools and bool(pod.ip) and not pod.deleting and not pod.finished
        return alive and self.is_ready(pod) and pod.name not in self.silent

    def is_ready(self, pod: Pod) -> bool:
        """Whether its executor is ready: the kubelet says so, or it has said so itself."""
        return pod.ready or self._has_said_ready(pod)

    def is_running(self, pod: Pod) -> bool:
        """Whether an executor runs in it: the kubelet says so, or will, for that executor has said that it is ready.

        After a restart, above all after a back-off, the pod's status shows for a second or two how the run before
        ended, while the new one takes work already.
        """
        return pod.running or self._has_said_ready(pod)

    def _has_said_ready(self, pod: Pod) -> bool:
        return bool(pod.ip) and self._said_ready.get(pod.ip, ("", None))[0] == pod.name

    def _offer(self, pod: Pod) -> None:
        pool = self._pools.get(pod.pool)
        capacity = pod.capacity or (pool.spec.concurrency if pool else _DEFAULT_CAPACITY)
        self._placement.set_pod(pod.name, pod.pool, capacity, self.accepts(pod))
        if pod.deleting or pod.finished:
            self._placement.evict_sessions(pod.name)


def _container_ended(before: Pod | None, after: Pod) -> bool:
    """Whether a run of the executor container has ended since the last view; a first view tells nothing new."""
    if after.finished:
        return before is None or not before.finished
    if before is None:
        return False
    return after.restarts > before.restarts or (after.terminated is not None and after.terminated != before.terminated)


def _ended_after(pod: Pod, said: datetime) -> bool:
    """Whether the container has ended since its executor said that it was ready (the kubelet knows seconds only)."""
    finished = pod.terminated.finished if pod.terminated else None
    return finished is not None and finished + _KUBELET_ROUNDING > said
