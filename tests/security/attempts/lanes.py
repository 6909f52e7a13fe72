"""Makes many attempts side by side: a lane is one thread that makes its attempts one after the other on its stage.

Most of an attempt's time is waiting, for a timeout or a heartbeat, and a machine has more than one core. Tests ask
for what came of one attempt, and wait only if its lane has not got so far.
"""

import threading
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from contracts.executor_api import IsolationLevel, Language
from tests.security.attempts.performance import Performance
from tests.security.attempts.stage import ROOT_ONLY, Stage

_RESULT_WITHIN_S: Final = 1800.0
_TRIES: Final = 3


@dataclass(frozen=True)
class Task:
    """One attempt to be made (``Stage.make``)."""

    level: IsolationLevel
    module: str
    name: str
    beside: Language | None = None
    without: tuple[str, ...] = ()

    @property
    def as_root(self) -> bool:
        """Whether its stage must be the machine's root's."""
        return ROOT_ONLY in self.without


class Lanes:
    """All lanes of one test run."""

    def __init__(self, lanes: Mapping[Hashable, Sequence[Task]]) -> None:
        """Begins with all lanes at once; ``close`` ends them."""
        self._results: dict[Task, Future[Performance]] = {task: Future() for tasks in lanes.values() for task in tasks}
        self._lanes = [_Lane(tasks, self._results) for tasks in lanes.values()]

    def wait_for(self, task: Task) -> Performance:
        """What came of it. Raises RuntimeError when its stage failed."""
        return self._results[task].result(_RESULT_WITHIN_S)

    def close(self) -> None:
        """Ends what still runs."""
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join()


class _Lane(threading.Thread):
    """Its stages are started and ended in this thread: bwrap ends with the thread that started it."""

    def __init__(self, tasks: Sequence[Task], results: Mapping[Task, Future[Performance]]) -> None:
        super().__init__(daemon=True)
        self._tasks, self._results = tasks, results
        self._stage: Stage | None = None
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        """All tasks, each on the stage of the one before where it can be the same."""
        for task in self._tasks:
            if self._stopped.is_set():
                break
            try:
                self._results[task].set_result(self._make(task))
            except Exception as error:
                self._results[task].set_exception(error)
                self._end_stage()
        self._end_stage()

    def stop(self) -> None:
        """From another thread: ends the attempt that is being made, too."""
        self._stopped.set()
        stage = self._stage
        if stage is not None:
            stage.kill()

    def _make(self, task: Task) -> Performance:
        """Best of three, where what may be wrong is only a matter of time: an effect that is shown to be possible, or
        an end and an answer in time. Whatever else is seen counts when it is seen once."""
        for _ in range(_TRIES - 1):
            seen = self._try(task)
            if seen.effect if task.without else not seen.is_only_late:
                return seen
        return self._try(task)

    def _try(self, task: Task) -> Performance:
        if self._stage is None or (self._stage.level, self._stage.as_root) != (task.level, task.as_root):
            self._end_stage()
            self._stage = Stage(task.level, task.as_root)
        return self._stage.make(task.module, task.name, task.beside, task.without)

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._stage.close()
            self._stage = None
