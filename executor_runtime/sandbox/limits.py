"""A run's limits as process 1 of its sandbox sets them, just before user code (setrlimit(2), the seed's T054)."""

import resource
from typing import Final

from executor_runtime.sandbox.model import MIB, Limits

Rlimits = list[tuple[int, int, int]]

_DATA_SLACK_BYTES: Final = 512 * MIB


def build_rlimits(limits: Limits) -> Rlimits:
    """(resource, soft, hard) for each limit."""
    # Beyond what the watchdog allows a tree: one process cannot take the node's memory between two samples,
    # and an interpreter that maps much more than it touches still starts.
    data = 2 * limits.memory_bytes + _DATA_SLACK_BYTES
    return [
        (resource.RLIMIT_NPROC, limits.processes + 1, limits.processes + 1),  # process 1 has the same uid
        (resource.RLIMIT_NOFILE, limits.open_files, limits.open_files),
        (resource.RLIMIT_FSIZE, limits.file_size_bytes, limits.file_size_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1),  # SIGXCPU, which says why, before SIGKILL
        (resource.RLIMIT_DATA, data, data),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    ]
