"""The operator: watches Executions and ExecutorPools, places work on warm pods and writes what became of it.

``pipeline`` alone knows the order of the steps (``docs/architecture.md``); the other
modules each take one value and give the next one.
"""

from typing import Final

VERSION: Final = "0.1.0"
"""The distribution's version; a test holds it against ``pyproject.toml``."""
