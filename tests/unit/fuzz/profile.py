"""How long the fuzzers go on: the same examples in every ``make test``, and as many new ones as ``make fuzz`` asks for.

A failure of ``make fuzz`` prints the example, and how to see it again (``@reproduce_failure``). What it found belongs
into the unit test of the module, by name.
"""

import os
from datetime import timedelta
from typing import Final

from hypothesis import HealthCheck, Phase, settings

VARIABLE: Final = "FUZZ_EXAMPLES"
"""Of the environment: examples for each fuzzer."""
_EXAMPLES: Final = 100
_HANG: Final = timedelta(seconds=60)
"""For one example; each takes milliseconds, and a machine may be busy."""

_asked: Final = os.environ.get(VARIABLE, "")

fuzzed: Final = settings(
    max_examples=int(_asked or _EXAMPLES),
    derandomize=not _asked,
    database=None,
    deadline=_HANG,
    print_blob=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
"""For each test here: ``@fuzzed`` above ``@given``."""
