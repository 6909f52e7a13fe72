"""Tokens: where they come from, and keeping them out of everything that is written.

A token may live in a file that a rotation replaces (a mounted Kubernetes Secret); it is read
again when the file changes. Every token that is ever in use is known to ``Redactor``, which
``logs`` asks before a record leaves the process.
"""

import hmac
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from contracts.bounds import TOKEN_OVERLAP_S

REDACTED: Final = "[redacted]"
_SECRET_KEYS: Final = re.compile("token|authorization|secret|password|api_key", re.IGNORECASE)
_MAX_DEPTH: Final = 8
_MIN_SEARCHED_CHARS: Final = 8
"""A shorter token is no secret, and would be found in every other word: only a value that is all of it is replaced."""
_Signature = tuple[int, int, int, int]


class Redactor:
    """Replaces known tokens in anything that is to be logged."""

    def __init__(self) -> None:
        self._tokens: Counter[str] = Counter()
        self._searched: re.Pattern[str] | None = None

    def hide(self, token: str) -> None:
        """From now on the token is replaced; as often hidden, as often to be forgotten."""
        if token:
            self._tokens[token] += 1
            self._search_anew()

    def forget(self, token: str) -> None:
        """The token is of no use to anybody any more."""
        self._tokens[token] -= 1
        if self._tokens[token] <= 0:
            del self._tokens[token]
            self._search_anew()

    def redact(self, value: Any, depth: int = 0) -> Any:
        """A copy without known tokens, and without the values of keys that are named like one."""
        if isinstance(value, str):
            return self._redact_text(value)
        if isinstance(value, (bool, int, float, type(None))):
            return value
        if depth >= _MAX_DEPTH:
            return "[nested too deeply]"
        if isinstance(value, Mapping):
            return {
                self._redact_text(str(key)): REDACTED if _SECRET_KEYS.search(str(key)) else self.redact(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.redact(item, depth + 1) for item in value]
        return self._redact_text(repr(value))

    def _redact_text(self, text: str) -> str:
        if text in self._tokens:
            return REDACTED
        return self._searched.sub(REDACTED, text) if self._searched is not None else text

    def _search_anew(self) -> None:
        """The longest first: one token may be part of another."""
        tokens = sorted(filter(lambda token: len(token) >= _MIN_SEARCHED_CHARS, self._tokens), key=len, reverse=True)
        self._searched = re.compile("|".join(map(_pattern, tokens))) if tokens else None


def _pattern(token: str) -> str:
    """The token as it is, and as any number of ``repr`` and JSON around each other would escape it."""
    return re.sub(r"(\\\\)+|['\"]", _escaped, re.escape(token))


def _escaped(found: re.Match[str]) -> str:
    return r"\\+" if found[0].startswith("\\") else rf"\\*{found[0]}"


class Token:
    """One bearer token, given as a value or as a file that may be replaced at any time.

    After a replacement the token before it is accepted for ``TOKEN_OVERLAP_S``, by the file's time and ``now``
    (Unix seconds): whoever calls may have the new one a minute later.
    """

    def __init__(
        self, value: str | None, file: Path | None, redactor: Redactor, now: Callable[[], float] = time.time
    ) -> None:
        self._value = value
        self._file = file
        self._redactor = redactor
        self._now = now
        self._previous: str | None = None
        self._changed_at = 0.0
        self._signature: _Signature | None = None
        if value is not None:
            redactor.hide(value)

    @property
    def required(self) -> bool:
        """Whether there is a token at all."""
        return self._value is not None or self._file is not None

    def read(self) -> str | None:
        """The token as it is now; the last known one while the file cannot be read."""
        if self._file is not None:
            self._read_again(self._file)
        return self._value

    def matches(self, presented: str) -> bool:
        """Whether somebody else showed the same token; takes as long whatever they showed."""
        known = [self.read()]
        if abs(self._now() - self._changed_at) <= TOKEN_OVERLAP_S:
            known.append(self._previous)
        shown = presented.encode("utf-8", "replace")
        return any(hmac.compare_digest(token.encode(), shown) for token in known if token is not None)

    def _read_again(self, file: Path) -> None:
        try:
            found = os.stat(file)
            signature = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if signature == self._signature:
                return
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return
        # A rotation that truncates and writes shows an empty file for a moment: keep the old token till then.
        if value:
            self._signature = signature
            if value != self._value:
                self._previous, self._changed_at = self._value, found.st_mtime
            self._value = value
            # An old token is never forgotten: it may be in a log record that is made later.
            self._redactor.hide(value)
