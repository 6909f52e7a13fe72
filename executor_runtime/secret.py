"""Tokens: where they come from, and keeping them out of everything that is written.

A token may live in a file that a rotation replaces (a mounted Kubernetes Secret); it is read
again when the file changes. Every token that is ever in use is known to ``Redactor``, which
``logs`` asks before a record leaves the process.
"""

import hmac
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

REDACTED: Final = "[redacted]"
_SECRET_KEYS: Final = ("token", "authorization", "secret", "password", "api_key")
_MAX_DEPTH: Final = 8
_MIN_SEARCHED_CHARS: Final = 8
"""A shorter token is no secret, and would be found in every other word: only a value that is all of it is replaced."""
_Signature = tuple[int, int, int, int]


class Redactor:
    """Replaces known tokens in anything that is to be logged."""

    def __init__(self) -> None:
        self._tokens: Counter[str] = Counter()

    def hide(self, token: str) -> None:
        """From now on the token is replaced; as often hidden, as often to be forgotten."""
        if token:
            self._tokens[token] += 1

    def forget(self, token: str) -> None:
        """The token is of no use to anybody any more."""
        self._tokens[token] -= 1
        if self._tokens[token] <= 0:
            del self._tokens[token]

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
                self._redact_text(str(key)): REDACTED if _names_secret(str(key)) else self.redact(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.redact(item, depth + 1) for item in value]
        return self._redact_text(repr(value))

    def _redact_text(self, text: str) -> str:
        if text in self._tokens:
            return REDACTED
        for token in self._tokens:
            if len(token) >= _MIN_SEARCHED_CHARS and token in text:
                text = text.replace(token, REDACTED)
        return text


def _names_secret(key: str) -> bool:
    lowered = key.lower()
    return any(name in lowered for name in _SECRET_KEYS)


class Token:
    """One bearer token, given as a value or as a file that may be replaced at any time."""

    def __init__(self, value: str | None, file: Path | None, redactor: Redactor) -> None:
        self._value = value
        self._file = file
        self._redactor = redactor
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
        expected = self.read()
        return expected is not None and hmac.compare_digest(expected.encode(), presented.encode("utf-8", "replace"))

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
            self._value = value
            # An old token is never forgotten: it may be in a log record that is made later.
            self._redactor.hide(value)
