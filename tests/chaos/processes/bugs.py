"""``python -m tests.chaos.processes.bugs``: the controller or the executor with bugs in it, which a run must find.

One of each kind that a defect in one place can make. ``SPOILED`` says which of the two it is.
"""

import asyncio
import itertools
import os
import sys
from typing import Any, Final

FOUND_BY: Final = {
    "the relay forgets one of five results": "had 0 effects at the Control Plane",
    "a container's end is told to nobody": "and the Control Plane was told 0 times",
    "an attempt too many": "2 attempts, with maxRetries 0",
    "the time to live does not wait for the Control Plane": "was removed before the Control Plane had heard of it",
    "one of seven ends changes once more": "and became Failed",
    "code is started twice": "was started 2 times",
    "a process stays behind": "processes: ",
    "descriptors stay open": "descriptors: ",
}
"""Each bug, and words of the line that names it."""


def spoil_controller() -> None:
    """The bugs of the controller."""
    from controller import pipeline, reported, writer
    from controller.relay import lifecycle, relay, results
    from controller.relay.courier import Told

    tell_result = results.Results._tell

    async def forgets(self: Any, item: Any, execution: Any, whole: Any) -> Any:
        if sum(execution.uid.encode()) % 5 == 0:
            fact = reported.settled(reported.ACCEPTED, "", self._ways.clock.now())
            return await self._close(execution, fact)
        return await tell_result(self, item, execution, whole)

    async def tells_nobody(self: Any, item: Any) -> Any:
        run = self._runs.get(item.key)
        if run is not None and run.exit is not None:
            self._runs.told(run, "Exited")
        return Told()

    end = pipeline.Pipeline._end

    async def ends_twice(self: Any, tracked: Any, fact: Any, mark: Any = None) -> Any:
        outcome = await end(self, tracked, fact, mark)
        execution = tracked.execution
        if execution.status.phase == "Succeeded" and sum(execution.uid.encode()) % 7 == 0:
            failed = execution.status.model_copy(update={"phase": "Failed"})
            await self._with.kube.replace_status(writer._path(execution), writer._body(execution, failed))
        return outcome

    take = relay.Relay.take

    def takes_and_lets_go(self: Any, execution: Any) -> None:
        take(self, execution)
        self.results.settled(execution)

    results.Results._tell = forgets  # type: ignore[method-assign]
    lifecycle.Lifecycle.send = tells_nobody  # type: ignore[method-assign]
    pipeline.Pipeline._end = ends_twice  # type: ignore[method-assign]
    pipeline._may_retry = lambda tracked: tracked.attempt <= tracked.execution.spec.max_retries + 1
    relay.Relay.take = takes_and_lets_go  # type: ignore[method-assign]
    relay.Relay.connect = lambda self, removal: setattr(self.results, "settled", removal.note)  # type: ignore


def spoil_executor() -> None:
    """The bugs of the executor."""
    from executor_runtime import service

    number = itertools.count()
    run = service.Service._run

    async def runs_twice(self: Any, record: Any, request: Any) -> Any:
        if next(number) % 6 == 0:
            await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
            for _ in range(10):
                os.open(os.devnull, os.O_RDONLY)
            if request.session_id is None:
                await run(self, record, request)
        return await run(self, record, request)

    service.Service._run = runs_twice  # type: ignore[method-assign]


def main() -> int:
    """Spoils it and runs it."""
    if os.environ["SPOILED"] == "controller":
        from controller.__main__ import main as run_controller

        spoil_controller()
        return run_controller()
    from executor_runtime.__main__ import main as run_executor

    spoil_executor()
    return run_executor()


if __name__ == "__main__":
    sys.exit(main())
