"""What an honest user runs beside each attempt: it must end right and in time, whatever the attempt does."""

import itertools
from dataclasses import dataclass
from typing import Final

from contracts.executor_api import Language

_MARKER: Final = "===SANDBOX_RESULT==="
CODE: Final[dict[Language, str]] = {
    "python": "import json, subprocess\ndef handler(event): return sum(json.loads(json.dumps(event['numbers'])))",
    "javascript": f"""
const event = JSON.parse(require('fs').readFileSync(process.env.EVENT_FILE))
console.log('{_MARKER}\\n' + event.numbers.reduce((sum, number) => sum + number) + '\\n{_MARKER}')
""",
    "shell": f"""
sum=0; for number in $(grep -o '[0-9]*' "$EVENT_FILE"); do sum=$((sum + number)); done
printf '{_MARKER}\\n%s\\n{_MARKER}\\n' "$sum"
""",
}
WITHIN_S: Final = 10.0
"""It takes 30 to 80 ms alone. A bomb may use all the CPU that its limits leave it, on two cores that run other tests
too; ten seconds are far more than that costs, and far less than it would take if a bomb got through."""


@dataclass(frozen=True)
class Honest:
    """One honest run."""

    language: Language
    numbers: tuple[int, ...]

    @property
    def expected(self) -> int:
        """Its return value."""
        return sum(self.numbers)


def in_turn() -> "itertools.cycle[Language]":
    """The languages, one after the other, for ever."""
    return itertools.cycle(CODE)
