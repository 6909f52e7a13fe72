"""One leader among the replicas, by a Lease; who is not the leader writes nothing and dispatches nothing.

The rules are those of Kubernetes' own leader election (client-go's ``leaderelection``): the leader
renews, the others take the Lease over once they have seen it unchanged for as long as it lasts, by
their own clocks. ``docs/decisions/0008-leadership.md`` says why this is not the Python client's election,
and how the times were chosen.

A leader knows by itself when its time is over, before anybody else may act: ``check`` stands right
before each write and each dispatch, and ends the process when the Lease was not renewed in time.
"""

import asyncio
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, Protocol

from controller.errors import KubeConflict, KubeError, KubeNotFound, NotLeader
from controller.logs import get_logger
from controller.resources import parse_time

Body = dict[str, Any]
_TRANSITIONS_A_LEASE: Final = 1_000_000
_RELEASE_TIMEOUT_S: Final = 1.0
_COMPLAIN_EVERY: Final = 20
logger = get_logger(__name__)


def read_monotonic() -> float:
    """Seconds of a clock that nobody sets and that also runs while the machine is suspended (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long everything takes, in seconds."""

    lasts: float = 10.0
    """Others wait this long after the last renewal that they saw."""
    deadline: float = 7.0
    """The leader gives up this long after it began its last successful renewal."""
    renew_every: float = 1.0
    look_every: float = 0.5
    """How often one that waits looks: a clean hand-over takes half of this on average."""
    attempt: float = 3.0
    """An attempt that hangs longer is given up, so that there is time for a second one on a new connection."""


class LeaseClient(Protocol):
    """What this module needs of the API server's client."""

    async def get(self, path: str) -> Body:
        """One object."""
        ...

    async def apply(self, path: str, body: Body) -> Body:
        """Creates an object where there is none; returns it."""
        ...

    async def replace(self, path: str, body: Body) -> Body:
        """Replaces an object under the resourceVersion in the body; returns it."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who asks for the Lease. ``pod`` empty: not in a pod."""

    namespace: str
    lease: str
    pod: str = ""
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def identity(self) -> str:
        """What stands in the Lease: another one for each process, so that each leader has its own epoch."""
        return f"{self.pod or 'process'}_{self.run}"

    def succeeds(self, holder: str) -> bool:
        """Whether the holder was an earlier process in this very container: it is gone, or this one would not run."""
        pod, _, run = holder.rpartition("_")
        return bool(self.pod) and pod == self.pod and run != self.run


def epoch_of(lease: Body) -> int:
    """Grows with each leader: the Lease's transitions, and its creation first, for a deleted Lease begins anew."""
    created = int(parse_time(lease["metadata"]["creationTimestamp"]).timestamp())
    return created * _TRANSITIONS_A_LEASE + int(lease["spec"].get("leaseTransitions") or 0)


class Leadership:
    """This process's part in the election."""

    def __init__(
        self,
        kube: LeaseClient,
        candidate: Candidate,
        abandon: Callable[[str], NoReturn],
        times: LeaseTimes | None = None,
        monotonic: Callable[[], float] = read_monotonic,
    ) -> None:
        """``abandon`` ends the process at once, with the reason; nothing may be written any more."""
        self._kube = kube
        self._candidate = candidate
        self._abandon = abandon
        self._times = times or LeaseTimes()
        self._monotonic = monotonic
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{candidate.namespace}/leases/{candidate.lease}"
        self._lease: Body = {}
        self._valid_until: float | None = None
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0

    @property
    def leads(self) -> bool:
        """Whether this process is the leader and its time is not over."""
        return self._valid_until is not None and self._monotonic() < self._valid_until

    def check(self) -> int:
        """The leader's epoch; to be called right before anything that only a leader may do.

        Ends the process when it was the leader and its time is over.

        Raises:
            NotLeader: it is not the leader yet, or has given the Lease back.
        """
        if self._valid_until is None:
            raise NotLeader("this replica does not lead")
        if self._monotonic() >= self._valid_until:
            self._abandon("the Lease was not renewed in time")
        return epoch_of(self._lease)

    async def acquire(self) -> None:
        """Returns once this process leads."""
        failures = 0
        while True:
            try:
                async with asyncio.timeout(self._times.attempt):
                    if await self._try_to_acquire():
                        logger.info("leads now", identity=self._candidate.identity, epoch=self.check())
                        return
                failures = 0
            except (KubeError, TimeoutError) as error:
                if failures % _COMPLAIN_EVERY == 0:
                    logger.warning("the Lease cannot be read or taken; trying again", error=_describe(error))
                failures += 1
            await asyncio.sleep(self._times.look_every)

    async def _try_to_acquire(self) -> bool:
        try:
            lease = await self._find_or_create()
            spec = lease.get("spec") or {}
            if not self._is_free(spec):
                return False
            transitions = int(spec.get("leaseTransitions") or 0) + 1
            begun = self._monotonic()
            self._lease = await self._kube.replace(
                self._path, {**lease, "spec": {**spec, **self._claim(), "leaseTransitions": transitions}}
            )
        except (KubeConflict, KubeNotFound):
            return False  # another one was faster
        self._valid_until = begun + self._times.deadline
        return True

    async def _find_or_create(self) -> Body:
        try:
            return await self._kube.get(self._path)
        except KubeNotFound:
            metadata = {"name": self._candidate.lease, "namespace": self._candidate.namespace}
            unheld = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}
            return await self._kube.apply(self._path, unheld)

    def _is_free(self, spec: Body) -> bool:
        holder = str(spec.get("holderIdentity") or "")
        seen = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            if self._seen and holder != self._seen[0]:
                logger.info("another replica leads", holder=holder or "nobody")
            self._seen, self._seen_at = seen, self._monotonic()
        if not holder or holder == self._candidate.identity or self._candidate.succeeds(holder):
            return True
        lasts = float(spec.get("leaseDurationSeconds") or self._times.lasts)
        return self._monotonic() - self._seen_at >= lasts

    def _claim(self) -> Body:
        return {
            "holderIdentity": self._candidate.identity,
            "leaseDurationSeconds": math.ceil(self._times.lasts),
            "acquireTime": _write_time(),
            "renewTime": _write_time(),
        }

    async def keep(self) -> None:
        """Renews until cancelled; ends the process when the Lease is lost."""
        while True:
            await asyncio.sleep(min(self._times.renew_every, self._left_s()))
            self.check()
            try:
                async with asyncio.timeout(min(self._times.attempt, self._left_s())):
                    await self._renew()
            except (KubeError, TimeoutError) as error:
                logger.warning("the Lease could not be renewed; trying again", error=_describe(error))

    def _left_s(self) -> float:
        return max((self._valid_until or 0.0) - self._monotonic(), 0.0)

    async def _renew(self) -> None:
        begun = self._monotonic()
        try:
            body = {**self._lease, "spec": {**self._lease["spec"], "renewTime": _write_time()}}
            self._lease = await self._kube.replace(self._path, body)
        except KubeNotFound:
            self._abandon("the Lease is gone")
        except KubeConflict:
            # An attempt whose answer was lost, or somebody else.
            found = await self._kube.get(self._path)
            holder = (found.get("spec") or {}).get("holderIdentity")
            if holder != self._candidate.identity or epoch_of(found) != epoch_of(self._lease):
                self._abandon(f"the Lease is held by {holder or 'nobody'}")
            self._lease = found
        else:
            self._valid_until = begun + self._times.deadline

    async def release(self) -> None:
        """Gives the Lease back, so that another replica need not wait; nothing may be written after this.

        ``keep`` must have ended.
        """
        leads, self._valid_until = self.leads, None
        if not leads:
            return
        try:
            async with asyncio.timeout(_RELEASE_TIMEOUT_S):
                try:
                    await self._give_back(self._lease)
                except KubeConflict:  # a renewal that was cut off has arrived all the same
                    await self._give_back(await self._kube.get(self._path))
            logger.info("the Lease is given back", identity=self._candidate.identity)
        except (KubeError, TimeoutError) as error:
            logger.warning("the Lease could not be given back; it runs out", error=_describe(error))

    async def _give_back(self, lease: Body) -> None:
        if lease["spec"].get("holderIdentity") == self._candidate.identity:
            spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _write_time()}
            await self._kube.replace(self._path, {**lease, "spec": spec})


def _write_time() -> str:
    """For people; nobody computes with another machine's clock."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__
