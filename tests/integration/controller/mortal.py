"""``python -m tests.integration.controller.mortal``: controllers that kill themselves at a given await.

For each line of JSON on standard input (the arguments of ``Life``) one is forked off this process, which has imported
everything already. Its pid is written to standard output, and a second line once it has ended.

Every task runs its coroutine through ``Watched``, which sees each suspension. A suspension is known by the awaits
that lead to it, as far as they stand in ``controller/``: file, line, function and instruction of each. An await of
a peer's bytes, or of what tasks share, suspends also when it need not wait (``_suspend_always``): whether it must hangs
on the moment, and a controller can be killed there only when it does.
"""

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

import aiohttp

from controller import pipeline, reports
from controller.__main__ import main as run_controller
from controller.resources import Execution

_CONTROLLER = str(Path(pipeline.__file__).parent) + os.sep
_THROUGH = ("async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper")
"""Awaitables that show by their referents only what they wait for."""
Edge = Literal["suspends", "resumes"]


@dataclass
class Life:
    """What one controller does from when it has seen the Execution ``target``: dies at a point, or records all."""

    target: str
    edge: Edge = "suspends"
    point: str = ""
    record: str = ""
    begun: bool = False
    _passed: set[tuple[Edge, str]] = field(default_factory=set)
    _file: TextIO | None = None

    def see(self, execution: Execution) -> None:
        """From the target on, every suspension counts."""
        if execution.name == self.target and not self.begun:
            self.begun = True
            self._file = open(self.record, "a") if self.record else None  # noqa: SIM115

    def pass_by(self, edge: Edge, coroutine: object) -> None:
        """A coroutine suspends, or is about to go on."""
        point = locate(coroutine)
        if point and (edge, point) == (self.edge, self.point):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._file is not None and point and (edge, point) not in self._passed:
            self._passed.add((edge, point))
            self._file.write(json.dumps([edge, point]) + "\n")
            self._file.flush()


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine, each of whose suspensions is shown to the life."""

    def __init__(self, inner: Coroutine[Any, Any, Any], life: Life) -> None:
        self._inner = inner
        self._life = life

    def send(self, value: Any) -> Any:
        """Goes on until the next suspension."""
        if self._life.begun:
            self._life.pass_by("resumes", self._inner)
        waits_for = self._inner.send(value)
        if self._life.begun:
            self._life.pass_by("suspends", self._inner)
        return waits_for

    def throw(self, *error: Any) -> Any:
        """The same, with an exception."""
        if self._life.begun:
            self._life.pass_by("resumes", self._inner)
        waits_for = self._inner.throw(*error)
        if self._life.begun:
            self._life.pass_by("suspends", self._inner)
        return waits_for

    def close(self) -> None:
        """Ends it."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()


def locate(coroutine: object) -> str:
    """The awaits in ``controller/`` that lead to where a coroutine is suspended; empty when none does."""
    found = []
    while coroutine is not None:
        frame = next(
            (getattr(coroutine, name) for name in ("cr_frame", "gi_frame", "ag_frame") if hasattr(coroutine, name)),
            None,
        )
        if frame is not None and frame.f_code.co_filename.startswith(_CONTROLLER):
            file = frame.f_code.co_filename.removeprefix(_CONTROLLER)
            found.append(f"{file}:{frame.f_lineno} {frame.f_code.co_name}+{frame.f_lasti}")
        coroutine = _next(coroutine)
    return " > ".join(found)


def _next(coroutine: object) -> object:
    if type(coroutine).__name__ in _THROUGH:
        inner = (
            thing for thing in gc.get_referents(coroutine) if hasattr(thing, "ag_frame") or hasattr(thing, "cr_frame")
        )
        return next(inner, None)
    for name in ("cr_await", "gi_yieldfrom", "ag_await"):
        if hasattr(coroutine, name):
            return getattr(coroutine, name)
    return None


class Loop(asyncio.SelectorEventLoop):
    """Its tasks are watched."""

    life: Life

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> asyncio.Task[Any]:
        """Runs a coroutine as a task."""
        return super().create_task(Watched(coro, self.life), name=name, context=context)


def _suspend_always() -> None:
    for kind, name in (
        (asyncio.Lock, "acquire"),
        (asyncio.Semaphore, "acquire"),
        (asyncio.Event, "wait"),
        (aiohttp.StreamReader, "read"),
    ):
        setattr(kind, name, _suspending(getattr(kind, name)))


def _suspending(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def suspend(*given: Any) -> Any:
        await asyncio.sleep(0)
        return await method(*given)

    return suspend


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return Loop()


def live(life: Life) -> int:
    """One controller's life."""
    Loop.life = life
    see = pipeline.Pipeline.see

    def watched_see(self: pipeline.Pipeline, execution: Execution) -> None:
        life.see(execution)
        see(self, execution)

    pipeline.Pipeline.see = watched_see  # type: ignore[method-assign]
    reports.HEARTBEAT_WRITE_S = reports.HEARTBEAT_RELAY_S = 0.1  # type: ignore[misc]
    asyncio.set_event_loop_policy(_Policy())
    _suspend_always()
    log = os.open(os.environ["CONTROLLER_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return run_controller()


def main() -> int:
    """Until standard input ends."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = live(Life(**json.loads(line)))
            finally:
                os._exit(code)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
