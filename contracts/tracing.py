"""Trace contexts (https://www.w3.org/TR/trace-context/) as text: what of them client, controller and executor share.

Nothing of OpenTelemetry is imported here: who only passes a context on needs no more than this.
"""

import re
from dataclasses import dataclass
from typing import Final

TRACE_ANNOTATION: Final = "opentelemetry.io/trace-context"
"""On an Execution: the span that its creator stands in, as a ``traceparent``."""
TRACE_HEADER: Final = "traceparent"
TRACE_VARIABLE: Final = "TRACEPARENT"
"""An entry of ``spec.env`` with this name and without a value asks for the context of its run."""
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?"
)
_LENGTH: Final = 512
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span by the ids of its trace (32 hexadecimal digits) and its own (16), and whether it is recorded."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """As the header and the annotation have it."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse_traceparent(text: str) -> TraceContext | None:
    """The context that stands there; None when it is none, whoever wrote it."""
    found = _TRACEPARENT.fullmatch(text) if len(text) <= _LENGTH else None
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    return TraceContext(found[2], found[3], bool(int(found[4], 16) & _SAMPLED))
