"""The executor: runs untrusted code in bubblewrap sandboxes and serves the executor's HTTP API.

``python -m executor_runtime`` starts it. ``service`` knows the order of the steps of one
execution; the steps know nothing of each other. It never imports ``controller``.
"""

from typing import Final

VERSION: Final = "0.1.0"
"""The distribution's version; a test holds it against ``pyproject.toml``."""
