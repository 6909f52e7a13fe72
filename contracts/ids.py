"""Execution ids: their pattern, and the one that an Execution without its own gets.

The id is the same after every controller restart, because it is derived from what
the API server keeps: the creation date and the UID.
"""

import hashlib
from datetime import date
from functools import lru_cache
from typing import Final

EXECUTION_ID_PATTERN: Final = r"^exec_[0-9]{8}_[a-z0-9]{8}$"
EXECUTION_ID_LENGTH: Final = 22
EXECUTION_ID_EXAMPLE: Final = "exec_20260115_a1b2c3d4"

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_SUFFIX_LENGTH: Final = 8


@lru_cache(maxsize=4096)
def derive_execution_id(created: date, uid: str) -> str:
    """``exec_YYYYMMDD_xxxxxxxx`` for an object created on ``created`` (UTC) with this ``metadata.uid``."""
    number = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big")
    suffix = ""
    for _ in range(_SUFFIX_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        suffix += _ALPHABET[digit]
    return f"exec_{created:%Y%m%d}_{suffix}"
