"""``python -m tests.integration.executor.impatient``: the executor, but interpreters wait for five seconds only."""

import sys

from executor_runtime.__main__ import main
from executor_runtime.sandbox import warm

if __name__ == "__main__":
    warm.WANTED_S = 5.0
    sys.exit(main())
