"""One Execution's output from where the client stands to its end, wherever it is to be had.

From the executor while that holds it, anew after each break, through later attempts; else what ``.status`` keeps. The
API server's object is the truth of whether there is more to come: an executor that does not answer is asked again for
as long as the Execution has not ended.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from controller.logs import get_logger
from log_api.ended import read_status
from log_api.errors import OutputBroken, OutputUnknown, StatusError, not_found, unavailable
from log_api.events import Attempt, Cursor, End, Event, KeepAlive, Pause, advance
from log_api.executions import Executions, View
from log_api.executors import Executors
from log_api.metrics import Metrics
from log_api.options import LogOptions

_PAUSES_S: Final = (0.1, 0.3, 1.0, 2.0, 5.0)
_TRIES: Final = 3
"""Before a silent executor is given up, where there is something else to tell or nobody wants to wait."""
logger = get_logger(__name__)


class Follower:
    """Follows Executions; one for the whole process."""

    def __init__(self, executions: Executions, executors: Executors, metrics: Metrics) -> None:
        self._executions = executions
        self._executors = executors
        self._metrics = metrics

    async def follow(self, view: View, options: LogOptions) -> AsyncGenerator[Event, None]:
        """The output of an Execution. With ``options.follow`` the last event is ``End``, else it may be ``Pause``.

        Raises:
            StatusError: it is deleted, or cannot be read; without ``follow`` also when its executor does not answer.
        """
        cursor, begun, failures = options.start, False, 0
        while True:
            if not view.placed:
                if view.status is not None:
                    for event in read_status(view.status, Cursor()):
                        yield event
                    return
                if not options.follow:
                    yield Pause()
                    return
                yield KeepAlive()
                view = await self._wait_change(view)
                continue
            if not begun or view.attempt != cursor.attempt:
                known = cursor if cursor.attempt in (0, view.attempt) else Cursor()
                cursor, begun, failures = replace(known, attempt=view.attempt), True, 0
                yield Attempt(view.attempt)
            problem: OutputUnknown | OutputBroken | None = None
            end: End | None = None
            try:
                async with aclosing(self._executors.read(view, cursor, follow=options.follow)) as events:
                    async for event in events:
                        failures = 0
                        cursor = advance(cursor, event)
                        if isinstance(event, End):
                            end = event
                            break
                        yield event
                        if isinstance(event, Pause):
                            return
            except (OutputUnknown, OutputBroken) as error:
                problem = error
            if end is not None and not (options.follow and view.may_be_retried):
                yield end
                return
            fresh = await self._read_again(view)
            while end is not None and fresh.may_be_retried and fresh.attempt == view.attempt:
                fresh = await self._wait_change(fresh)
                yield KeepAlive()
            if end is not None and fresh.attempt == view.attempt:
                yield end
                return
            if fresh.attempt != view.attempt or problem is None:
                view = fresh
                continue
            view, failures = fresh, failures + 1
            given_up = isinstance(problem, OutputUnknown) or failures >= _TRIES
            if view.status is not None and given_up:
                for event in read_status(view.status, cursor):
                    yield event
                return
            busy = isinstance(problem, OutputBroken) and problem.busy
            if busy and given_up and cursor.position == options.start.position:
                raise StatusError(429, "as many follow this output as may", name=view.name, retry_after_s=10)
            if not options.follow and given_up:
                if isinstance(problem, OutputBroken):
                    raise unavailable(f"{problem}; it is on pod {view.pod_name}", view.name)
                yield Pause()
                return
            self._note(view, problem, failures)
            await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S)) - 1])
            yield KeepAlive()

    async def _wait_change(self, view: View) -> View:
        """The Execution once it has changed, or as it is after some seconds; an API server that restarts is no end."""
        try:
            return await self._executions.wait_change(view) or view
        except StatusError as error:
            if error.code != 503:
                raise
        return await self._read_again(view)

    async def _read_again(self, view: View) -> View:
        for pause_s in _PAUSES_S:
            try:
                return _same(await self._executions.read(view.namespace, view.name), view)
            except StatusError as error:
                if error.code != 503:
                    raise
            await asyncio.sleep(pause_s)
        return _same(await self._executions.read(view.namespace, view.name), view)

    def _note(self, view: View, problem: Exception, failures: int) -> None:
        self._metrics.reconnects.inc()
        if failures in (1, 10) or failures % 100 == 0:
            logger.warning(
                "asks an executor again for output",
                problem=str(problem),
                pod=view.pod_name,
                namespace=view.namespace,
                execution=view.name,
                tries=failures,
            )


def _same(fresh: View, view: View) -> View:
    if fresh.uid != view.uid:
        raise not_found(view.name)
    return fresh
