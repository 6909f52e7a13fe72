"""Puts one run into a cgroup of its own before it begins, and tells afterwards what the kernel counted there.

Process 1 waits at a gate, a pipe, until it has a job and, where there are cgroups, until the executor has moved it into
the run's. So no user code ever runs outside of it, and the 10 ms that the kernel may take to move a process (it waits
for a grace period of RCU) pass while the interpreter starts. bwrap's ``--block-fd`` would add them.
"""

import asyncio
import os
from typing import Final

from executor_runtime.sandbox.cgroup import Cgroup, Cgroups
from executor_runtime.sandbox.descriptors import Descriptors
from executor_runtime.sandbox.forking import ForkedProcess
from executor_runtime.sandbox.model import Limits
from executor_runtime.sandbox.process import Process
from executor_runtime.sandbox.tree import children_of

_FINISH_TIMEOUT_S: Final = 2.0


class Gate:
    """What process 1 waits at."""

    def __init__(self, descriptors: Descriptors) -> None:
        waits_at, self._opens = os.pipe2(os.O_CLOEXEC)
        self.descriptor = descriptors.hold(waits_at)
        """Process 1's end."""
        descriptors.hold(self._opens)
        self._descriptors = descriptors

    def open(self) -> None:
        """Lets process 1 go on."""
        os.write(self._opens, b"1")

    def close(self) -> None:
        """If it was not opened, process 1 ends."""
        self._descriptors.close(self._opens)


class Placement:
    """Of one run, from its start to its end. ``finish`` must be awaited."""

    def __init__(self, cgroups: Cgroups, limits: Limits, process: Process | ForkedProcess, gate: Gate) -> None:
        self.failure = ""
        """Why the run could not be placed; then it has not begun."""
        self.was_out_of_memory = False
        self.cpu_time_s = 0.0
        self._cgroups = cgroups
        self._group: Cgroup | None = None
        self._placing = asyncio.ensure_future(self._place(limits, process, gate))

    async def _place(self, limits: Limits, process: Process | ForkedProcess, gate: Gate) -> None:
        try:
            self._group = await asyncio.to_thread(self._cgroups.create, limits)
            await process.wait_for_init()
            if process.init_pid is not None and not process.exited.done():
                await asyncio.to_thread(_add_all, self._group, process.init_pid)
                gate.open()
        except ProcessLookupError:  # killed meanwhile: there is nothing to place
            return
        except OSError as error:
            self.failure = f"it cannot be put into a cgroup: {error.strerror}"
        finally:
            gate.close()

    def kill(self) -> None:
        """All that is in the cgroup, at once."""
        if self._group is not None:
            self._group.kill()

    async def finish(self) -> None:
        """Once nothing of the run is left."""
        await asyncio.wait({self._placing}, timeout=_FINISH_TIMEOUT_S)
        self._placing.cancel()  # what waits for a process that neither starts nor ends
        await asyncio.wait({self._placing})
        if self._group is not None:
            await asyncio.to_thread(self._take, self._group)

    def _take(self, group: Cgroup) -> None:
        self.was_out_of_memory = group.was_out_of_memory()
        self.cpu_time_s = group.cpu_time_s()
        self._cgroups.discard(group)


def _add_all(group: Cgroup, init_pid: int) -> None:
    """Process 1 first: what it forks after that is in the group, what it had forked before is found below it."""
    group.add(init_pid)
    for child in children_of(init_pid):
        group.add(child)
