"""The runs of executor containers: when each became ready and how it ended, noticed once, whoever noticed first.

The kubelet's view of the pod is the truth. What an executor says of its own end is taken before
that only when it comes from that pod's address: the token that it shows is shared by all executors,
and one that has been captured must not be able to say that another has ended.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from contracts.control_plane_api import ContainerExited, ExitReason
from contracts.pool import MAX_STATUS_CONTAINERS, PoolContainer
from controller.resources import Pod, Pool, TerminatedContainer
from controller.termination import LOST, Termination, classify, removed

Heard = Literal["Ready", "Exited"]
_KUBELET_DELAY: Final = timedelta(seconds=30)
"""How much longer than a pod's grace period a busy kubelet may take to end it."""
_LONG_AGO: Final = timedelta(minutes=10)
"""Longer than any change of leaders: an end before that was told, and is not looked into."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended; ``message`` is for people."""

    time: datetime
    code: int
    reason: ExitReason
    message: str = ""


@dataclass(slots=True)
class Run:
    """One run of an executor container; ``reported`` is what the Control Plane has heard of it last."""

    pool: str
    pod_name: str
    pod_uid: str
    container_id: str
    port: int
    ready: datetime | None = None
    exit: Exit | None = None
    reported: Heard | None = None

    @property
    def key(self) -> str:
        """Unique among all runs of all pods."""
        return _key(self.pod_uid, self.container_id)

    @property
    def untold(self) -> bool:
        """Whether there is something that the Control Plane has not heard."""
        if self.exit is not None:
            return self.reported != "Exited"
        return self.ready is not None and self.reported is None

    @property
    def settled(self) -> bool:
        """Whether it has ended, and the Control Plane has heard of that."""
        return self.exit is not None and not self.untold


class ContainerRuns:
    """Runs that go on and, where somebody tells a Control Plane (``relays``), how runs ended.

    Of each pod that is there the last end stays, also when it is told: by that a controller that has just started
    knows of an end that its predecessor was not able to write down.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._runs: dict[str, Run] = {}
        self._of_pod: dict[str, dict[str, Run]] = {}
        """The same by the pod's uid: an event about one of a thousand pods must not look at all."""
        self._last_ended: dict[str, str] = {}
        self._seen: set[str] = set()
        self._restored: set[str] = set()
        self.relays = False
        self.listeners: list[Callable[[Run], None]] = []
        """Called when a run has become ready, and when it has ended."""
        self.changed: Callable[[str], None] = lambda pool: None

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    def get(self, key: str) -> Run | None:
        """The run with this key."""
        return self._runs.get(key)

    def rows(self, pool: str) -> list[PoolContainer] | None:
        """The runs of a pool, for its status."""
        mine = sorted((run for run in self._runs.values() if run.pool == pool), key=lambda run: (run.settled, run.key))
        return [_to_row(run) for run in mine[:MAX_STATUS_CONTAINERS]] or None

    def restore(self, pool: Pool) -> None:
        """Takes over what the controller before this one has written into a pool's status, once."""
        if pool.uid in self._restored:
            return
        self._restored.add(pool.uid)
        for row in pool.status.containers or ():
            run = _from_row(pool.name, row)
            if run.key not in self._runs:
                self._add(run)
            if run.exit is not None:
                self._last_ended[run.pod_uid] = run.container_id

    def see(self, pod: Pod, ready: bool) -> None:
        """A pod as it is now; ``ready``: its executor takes work."""
        first = pod.uid not in self._seen
        self._seen.add(pod.uid)
        ended = pod.terminated
        if ended is not None and ended.container_id and self._last_ended.get(pod.uid) != ended.container_id:
            self._see_end(pod, ended.container_id, new=not (first and pod.running) or self._is_untold(pod, ended))
        if pod.finished or (ended is not None and not ended.container_id and not pod.running):
            for run in self._open_of(pod.uid):
                self._close(run, _how(pod, run.container_id))
        if pod.container_id and not pod.finished and self._last_ended.get(pod.uid) != pod.container_id:
            self._see_running(pod, ready)

    def lose(self, name: str, pod: Pod | None) -> None:
        """A pod is gone; ``pod`` is the last that was seen of it."""
        for run in self._open():
            if run.pod_name == name:
                self._close(run, _how(pod, run.container_id))
        if pod is not None:
            self._seen.discard(pod.uid)
            self._last_ended.pop(pod.uid, None)
            self._forget_settled(pod.uid)

    def listed(self, uids: Collection[str]) -> None:
        """All pods that there are: the runs of others have ended while nobody looked."""
        for run in self._open():
            if run.pod_uid not in uids:
                self._close(run, LOST)
        for uid in [uid for uid in self._of_pod if uid not in uids]:
            self._forget_settled(uid)

    def give_up(self, pods: Iterable[Pod], now: datetime) -> None:
        """Ends the runs of pods that should be gone by now: whoever ran them, their node, is not there."""
        for pod in pods:
            if pod.gone_by is not None and now > pod.gone_by + _KUBELET_DELAY and pod.running:
                message = f"the executor pod {pod.name} does not end: node {pod.node or '?'} seems to be lost"
                for run in self._open_of(pod.uid):
                    self._close(run, replace(LOST, message=message))

    def say_exited(self, pod: Pod, peer: str, said: ContainerExited) -> None:
        """An executor says that it ends; believed when the call comes from its pod."""
        run = self._runs.get(_key(pod.uid, pod.container_id))
        if run is not None and run.exit is None and peer == pod.ip:
            why = f": {pod.evicted or pod.leaving}" if pod.evicted or pod.leaving else ""
            message = f"the executor on pod {pod.name} ends, as it says itself{why}"
            self._close(run, Termination(said.exit_reason, said.exit_code, "", message))

    def told(self, run: Run, what: Heard) -> None:
        """The Control Plane has heard of it."""
        run.reported = what
        if what == "Exited" and (
            run.pod_uid not in self._seen or self._last_ended.get(run.pod_uid) != run.container_id
        ):
            self._forget(run)
        self.changed(run.pool)

    def _is_untold(self, pod: Pod, ended: TerminatedContainer) -> bool:
        """Of an end before the present run that no status names: whether that is because nobody was there.

        Who has written down the present run has seen that end, too.
        """
        recent = ended.finished is not None and self._now() - ended.finished < _LONG_AGO
        return self.relays and recent and _key(pod.uid, pod.container_id) not in self._runs

    def _see_end(self, pod: Pod, container_id: str, *, new: bool) -> None:
        run = self._runs.get(_key(pod.uid, container_id))
        if run is None and new:
            run = _start(pod, container_id)
            self._add(run)
        self._last_ended[pod.uid] = container_id
        if run is not None:
            self._close(run, _how(pod, container_id))

    def _see_running(self, pod: Pod, ready: bool) -> None:
        for other in self._open_of(pod.uid):
            if other.container_id != pod.container_id:
                self._close(other, _how(pod, other.container_id))
        run = self._runs.get(_key(pod.uid, pod.container_id))
        if run is None:
            run = _start(pod, pod.container_id)
            self._add(run)
            self.changed(run.pool)
        if ready and run.ready is None:
            run.ready = self._now()
            self._tell(run)

    def _open_of(self, uid: str) -> list[Run]:
        return [run for run in self._of_pod.get(uid, {}).values() if run.exit is None]

    def _open(self) -> list[Run]:
        return [run for run in self._runs.values() if run.exit is None]

    def _close(self, run: Run, how: Termination) -> None:
        if run.exit is not None:
            return
        self._forget_settled(run.pod_uid)
        run.exit = Exit(self._now(), how.exit_code, how.exit_reason, how.message)
        self._last_ended[run.pod_uid] = run.container_id
        if not self.relays:
            self._forget(run)
        self._tell(run)

    def _add(self, run: Run) -> None:
        self._runs[run.key] = self._of_pod.setdefault(run.pod_uid, {})[run.key] = run

    def _forget(self, run: Run) -> None:
        self._runs.pop(run.key, None)
        mine = self._of_pod.get(run.pod_uid, {})
        mine.pop(run.key, None)
        if not mine:
            self._of_pod.pop(run.pod_uid, None)

    def _forget_settled(self, uid: str) -> None:
        for run in [run for run in self._of_pod.get(uid, {}).values() if run.settled]:
            self._forget(run)
            self.changed(run.pool)

    def _tell(self, run: Run) -> None:
        for listener in self.listeners:
            listener(run)
        self.changed(run.pool)


def _key(pod_uid: str, container_id: str) -> str:
    return f"{pod_uid}/{container_id}"


def _start(pod: Pod, container_id: str) -> Run:
    return Run(pod.pool, pod.name, pod.uid, container_id, pod.port)


def _how(pod: Pod | None, container_id: str) -> Termination:
    """How this run ended, as far as the pod says something about this one and not about another."""
    if pod is not None and pod.terminated is not None and pod.terminated.container_id not in ("", container_id):
        pod = replace(pod, terminated=None)
    how = classify(pod)
    return removed(pod) if pod is not None and how is LOST and pod.running else how


def _to_row(run: Run) -> PoolContainer:
    return PoolContainer(
        pod_name=run.pod_name,
        pod_uid=run.pod_uid,
        container_id=run.container_id,
        port=run.port,
        ready_time=run.ready.replace(microsecond=0) if run.ready else None,
        exit_time=run.exit.time.replace(microsecond=0) if run.exit else None,
        exit_code=run.exit.code if run.exit else None,
        exit_reason=run.exit.reason if run.exit else None,
        reported=run.reported,
    )


def _from_row(pool: str, row: PoolContainer) -> Run:
    run = Run(pool, row.pod_name, row.pod_uid, row.container_id, row.port, row.ready_time, reported=row.reported)
    if row.exit_time is not None:
        run.exit = Exit(row.exit_time, -1 if row.exit_code is None else row.exit_code, row.exit_reason or "error")
    return run
