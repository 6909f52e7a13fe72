"""``python -m executor_runtime``: exits 1 with one line on stderr when it cannot start, 143 after SIGTERM."""

import signal
import sys
from types import FrameType


def _exit_early(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Runs until a signal; the exit code."""
    # Before the imports, which take longer than anything else at start.
    signal.signal(signal.SIGTERM, _exit_early)
    signal.signal(signal.SIGINT, _exit_early)
    from executor_runtime.process import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
