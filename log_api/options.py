"""The query of a request for output, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from contracts.bounds import MAX_INT64
from contracts.executor_api import MAX_ATTEMPT
from contracts.output_events import Position
from log_api.errors import bad_request
from log_api.events import Cursor

Wanted = Literal["stdout", "stderr", "all"]
_STREAMS: Final[Mapping[str, Wanted]] = {"stdout": "stdout", "stderr": "stderr", "all": "all"}
_BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "1": True, "": True, "false": False, "0": False}
_KNOWN: Final = ("follow", "stream", "limitBytes", "stdoutOffset", "stderrOffset", "attempt")
_IGNORED: Final = frozenset({"timeout", "pretty"})
"""Every Kubernetes client may add these."""
_OF_PODS: Final[Mapping[str, str]] = {
    "tailLines": "pipe the answer through `tail -n`, or begin at stdoutOffset and stderrOffset",
    "timestamps": "have the code print the time",
    "sinceSeconds": "begin at stdoutOffset and stderrOffset",
    "sinceTime": "begin at stdoutOffset and stderrOffset",
    "previous": "an earlier attempt's output is not kept",
    "container": "an Execution has one program",
}


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is wanted of an Execution's output. ``limit_bytes``: end after so many bytes of it."""

    follow: bool = False
    stream: Wanted = "all"
    limit_bytes: int | None = None
    start: Cursor = Cursor()
    """Where to begin, in the attempt that it names; in any other one, and with attempt 0, see ``Follower``."""


def parse_options(query: Mapping[str, str]) -> LogOptions:
    """The options of a request.

    Raises:
        StatusError: 400; says which one is wrong, and what to write instead.
    """
    for name in query:
        if name in _OF_PODS:
            raise bad_request(f"{name} is for pods, and not known here: {_OF_PODS[name]}")
        if name not in _KNOWN and name not in _IGNORED:
            raise bad_request(f"the parameter {name!r} is not known; there are {', '.join(_KNOWN)}")
    stream = _STREAMS.get(query.get("stream", "all"))
    if stream is None:
        raise bad_request(f"stream={query['stream']!r} is not known: write stdout, stderr or all")
    follow = _BOOLEANS.get(query.get("follow", "false").lower())
    if follow is None:
        raise bad_request(f"follow={query['follow']!r} is not known: write true or false")
    limit = parse_number(query, "limitBytes", smallest=1)
    start = Cursor(
        attempt=parse_number(query, "attempt", smallest=1, largest=MAX_ATTEMPT) or 0,
        position=Position(parse_number(query, "stdoutOffset") or 0, parse_number(query, "stderrOffset") or 0),
    )
    return LogOptions(follow, stream, limit, start)


def parse_number(query: Mapping[str, str], name: str, *, smallest: int = 0, largest: int = MAX_INT64) -> int | None:
    """A parameter that is a whole number; None when it is not there.

    Raises:
        StatusError: 400; says what to write instead.
    """
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and smallest <= int(text) <= largest):
        raise bad_request(f"{name}={text!r} is not valid: write a whole number from {smallest} to {largest}")
    return int(text)
