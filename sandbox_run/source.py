"""What a person writes on the command line, as values: code, language, event, environment, durations.

Every refusal is one line that says what is wrong and what to write.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from contracts import bounds
from contracts.executor_api import Language
from contracts.files import check_path
from sandbox_run.errors import InputError

STDIN: Final = "-"
SUFFIXES: Final[Mapping[str, Language]] = {
    ".py": "python",
    ".js": "javascript",
    ".cjs": "javascript",
    ".sh": "shell",
    ".bash": "shell",
}
_DURATION: Final = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s?)?", re.ASCII)
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def read_text(path: str, what: str, limit: int) -> str:
    """A file's text, of at most ``limit`` bytes; ``-`` is standard input.

    Raises:
        InputError: there is no such file, it is no text, or too large.
    """
    raw = read_bytes(path, what, limit)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path!r} is not UTF-8 text: byte {error.start} is {raw[error.start]:#04x}") from None


def read_bytes(path: str, what: str, limit: int) -> bytes:
    """The same for a file that need not be text.

    Raises:
        InputError: there is no such file, or it is too large.
    """
    try:
        if path == STDIN:
            raw = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(path).open("rb") as file:
                raw = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{what} {path!r} cannot be read: {reason}") from None
    if len(raw) > limit:
        raise InputError(f"{what} {path!r} is larger than {limit} bytes, the most that an Execution takes")
    return raw


def find_language(path: str, given: Language | None) -> Language:
    """The language that was given, else what the file's suffix says.

    Raises:
        InputError: neither says it.
    """
    if given is not None:
        return given
    suffix = Path(path).suffix.lower()
    if path == STDIN:
        raise InputError("standard input has no suffix: say which language it is, for example -l python")
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise InputError(f"the suffix of {path!r} is none of {known}: say which language it is, for example -l shell")
    return SUFFIXES[suffix]


def parse_event(text: str) -> Any:
    """The JSON value that a text is, or that stands in the file after ``@`` (``@-`` for standard input).

    Raises:
        InputError: it is not JSON.
    """
    where = "--event"
    if text.startswith("@"):
        text, where = read_text(text[1:], "the event file", bounds.MAX_EVENT_BYTES), text
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise InputError(f'{where} is not JSON: {error}; write for example --event \'{{"name": "Ada"}}\'') from None
    except RecursionError:
        raise InputError(f"{where} is nested too deep") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")


def parse_duration(text: str) -> int:
    """Whole seconds: ``30``, ``30s``, ``5m``, ``1h``, ``1m30s``.

    Raises:
        InputError: it is none of these, or out of the bounds of an Execution.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise InputError(f"--timeout {text!r} is not a duration in whole seconds: write for example 30s, 5m or 1m30s")
    hours, minutes, seconds = (int(found[unit] or 0) for unit in "hms")
    total = hours * 3600 + minutes * 60 + seconds
    if not bounds.MIN_TIMEOUT_S <= total <= bounds.MAX_TIMEOUT_S:
        raise InputError(f"--timeout {text!r} is out of bounds: from {bounds.MIN_TIMEOUT_S}s to 1h")
    return total


def parse_env(words: Iterable[str]) -> dict[str, str]:
    """``NAME=VALUE`` each; ``NAME`` alone takes the value that the variable has here.

    Raises:
        InputError: a name is none, or a variable is not set here.
    """
    env: dict[str, str] = {}
    for word in words:
        name, given, value = word.partition("=")
        if not _ENV_NAME.fullmatch(name):
            raise InputError(f"--env {name!r} is not the name of a variable: write NAME=VALUE, or NAME alone")
        if not given and name not in os.environ:
            raise InputError(f"--env {name}: the variable is not set here: write {name}=VALUE")
        env[name] = value if given else os.environ[name]
    return env


def read_files(words: Iterable[str]) -> dict[str, bytes]:
    """``PATH=SOURCE`` each: the path in the workspace, and the file here (``-``: standard input) with its content.

    ``PATH`` alone is both.

    Raises:
        InputError: the path is none that a file can have there, or the source cannot be read.
    """
    files: dict[str, bytes] = {}
    for word in words:
        path, _, source = word.partition("=")
        try:
            check_path(path)
        except ValueError as error:
            raise InputError(f"--file {path!r}: {error}; write --file data/input.csv=SOURCE") from None
        if path in files:
            raise InputError(f"--file {path!r} stands twice")
        files[path] = read_bytes(source or path, "the file", bounds.MAX_FILE_BYTES)
    return files
