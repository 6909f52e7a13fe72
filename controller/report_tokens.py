"""The token that an executor must show to report on one attempt of one Execution.

Derived, never stored: after a restart the controller makes the same token again, and an
executor that has been captured can forge nothing about what was given to others.
"""

import hashlib
import hmac
from collections.abc import Iterable


class ReportTokens:
    """Makes and checks report tokens with a key that only the controller has."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, execution_id: str, attempt: int) -> str:
        """64 hexadecimal digits: HMAC-SHA256 over the execution id and the attempt."""
        message = f"{execution_id}\n{attempt}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    def find_attempt(self, execution_id: str, token: str, attempts: Iterable[int]) -> int | None:
        """The attempt that the token was made for; None when it is for none of them. Compares in constant time."""
        found = None
        for attempt in attempts:
            if hmac.compare_digest(self.make(execution_id, attempt).encode(), token.encode()):
                found = attempt
        return found
