"""A run's limits as process 1 of its sandbox sets them, just before user code (setrlimit(2), the seed's T054).

There is none on address space: interpreters map much more than they touch (node reserves gigabytes for one
WebAssembly memory), and what counts of it is bounded by RLIMIT_DATA, RLIMIT_STACK and the watch on the tree.
"""

import resource
from typing import Final

from executor_runtime.sandbox.model import MIB, Limits

Rlimits = list[tuple[int, int, int]]

_DATA_SLACK_BYTES: Final = 512 * MIB
_STACK_BYTES: Final = 8 * MIB
_PENDING_SIGNALS: Final = 1024
"""Queued signals and POSIX timers. They count against the executor's own quota, too, as all sandboxes' do together
(user_namespaces(7), ucounts); without a bound of its own one sandbox could use all of it."""


def build_rlimits(limits: Limits, others: int = 1) -> Rlimits:
    """(resource, soft, hard) for each limit. ``others``: processes with the same uid in the same user namespace."""
    # Beyond what the watchdog allows a tree: one process cannot take the node's memory between two samples,
    # and an interpreter that maps much more than it touches still starts.
    data = 2 * limits.memory_bytes + _DATA_SLACK_BYTES
    return [
        (resource.RLIMIT_NPROC, limits.processes + others, limits.processes + others),
        (resource.RLIMIT_NOFILE, limits.open_files, limits.open_files),
        (resource.RLIMIT_FSIZE, limits.file_size_bytes, limits.file_size_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1),  # SIGXCPU, which says why, before SIGKILL
        (resource.RLIMIT_DATA, data, data),
        (resource.RLIMIT_STACK, _STACK_BYTES, data),  # a stack is not part of RLIMIT_DATA, and may grow as far
        (resource.RLIMIT_SIGPENDING, _PENDING_SIGNALS, _PENDING_SIGNALS),
        (resource.RLIMIT_NICE, 0, 0),
        (resource.RLIMIT_RTPRIO, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    ]
