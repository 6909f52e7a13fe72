"""The termination table: from how a container ended to what became of what ran in it.

Data first: each row of the design's table is one row here, and one of the test.
"""

from dataclasses import dataclass, replace
from typing import Final

from contracts.control_plane_api import ExitReason, ResultReport
from controller.resources import Pod, TerminatedContainer

_SIGKILL_EXIT: Final = 137
_SIGTERM_EXIT: Final = 143


@dataclass(frozen=True, slots=True)
class Termination:
    """How a container run ended: for ``container_exited``, and for the Executions that ran in it."""

    exit_reason: ExitReason
    exit_code: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Row:
    """The first row whose every given field fits is the one."""

    exit_reason: ExitReason
    crashed: str
    words: str
    exit_code: int | None = None
    container_reason: str | None = None

    def fits(self, ended: TerminatedContainer) -> bool:
        """Whether the container ended in this way."""
        return (self.exit_code is None or self.exit_code == ended.exit_code) and (
            self.container_reason is None or self.container_reason == ended.reason
        )


TABLE: Final = (
    _Row("oom_killed", "OutOfMemory", "the executor container ran out of memory", container_reason="OOMKilled"),
    _Row("sigterm", "PodTerminated", "the executor pod was told to end", exit_code=_SIGTERM_EXIT),
    _Row("sigkill", "ContainerKilled", "the executor container was killed", exit_code=_SIGKILL_EXIT),
    _Row("normal", "ExecutorExited", "the executor ended by itself", exit_code=0),
    _Row("error", "ExecutorError", "the executor ended with an error"),
)
LOST: Final = Termination("error", -1, "ExecutorLost", "the executor pod is gone, and nothing says how it ended")


def classify(pod: Pod | None) -> Termination:
    """How the last run of a pod's executor container ended; ``LOST`` when nothing says so."""
    ended = pod.terminated if pod else None
    if pod is None or ended is None:
        return _evicted(pod, LOST) if pod and pod.evicted else LOST
    row = next(row for row in TABLE if row.fits(ended))
    exit_code = _SIGKILL_EXIT if row.exit_reason == "oom_killed" else ended.exit_code
    words = last_words(ended.message)
    detail = f": {words}" if words else ""
    message = f"{row.words} (pod {pod.name}, exit code {ended.exit_code}){_because(pod)}{detail}"
    termination = Termination(row.exit_reason, exit_code, row.crashed, message)
    return _evicted(pod, termination) if pod.evicted else termination


def removed(pod: Pod) -> Termination:
    """How it ends when its pod is no longer there, and was last seen with a running container."""
    message = f"the executor pod {pod.name} was removed by force{_because(pod)}; nothing says how its container ended"
    return replace(LOST, message=message)


def explain(report: ResultReport, pod: Pod) -> ResultReport:
    """An executor that reports its crash knows that it was told to end, and not why: its pod does."""
    if report.status != "crashed" or not (pod.evicted or pod.leaving):
        return report
    told = _evicted(pod, LOST) if pod.evicted else None
    reason = told.reason if told else report.reason
    message = told.message if told else f"the executor pod {pod.name} was told to end{_because(pod)}"
    return report.model_copy(update={"reason": reason, "message": f"{message}; the code may have run in part"})


def _because(pod: Pod) -> str:
    return f", because {pod.leaving}" if pod.leaving else ""


def _evicted(pod: Pod, termination: Termination) -> Termination:
    message = f"the executor pod {pod.name} was evicted: {pod.evicted.rstrip(' .')}"
    return Termination(termination.exit_reason, termination.exit_code, "Evicted", message)


def last_words(log: str) -> str:
    """The last line for a person in the end of a container's log; its log records are JSON, and are passed over.

    So is what is left of a record at the start: the kubelet keeps the last 2 KiB.
    """
    lines = [line.strip() for line in log.splitlines()]
    if lines and lines[0].endswith("}"):
        del lines[0]
    return next((line[:500] for line in reversed(lines) if line and not line.startswith("{")), "")
