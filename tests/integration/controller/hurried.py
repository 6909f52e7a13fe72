"""``python -m tests.integration.controller.hurried``: the controller, but it compares with a list every two seconds."""

import sys

from controller import recovery
from controller.__main__ import main

if __name__ == "__main__":
    recovery.RESYNC_S = 2.0  # type: ignore[misc]
    sys.exit(main())
