"""``python -m tests.integration.executor.hurried``: the executor, but its heartbeats come five times a second."""

import sys

from executor_runtime import heartbeat
from executor_runtime.__main__ import main

if __name__ == "__main__":
    heartbeat.INTERVAL_S = 0.2  # type: ignore[misc]
    sys.exit(main())
