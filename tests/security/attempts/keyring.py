"""A key with a secret in the session keyring that the executor, and without a filter each sandbox, inherits.

No namespace divides session keyrings (keyrings(7)). A container runtime makes one for each container, so here the stage
makes one for the executor.
"""

import ctypes
import os
from typing import Final

import pyseccomp

DESCRIPTION: Final = "attempts"
_JOIN_SESSION_KEYRING: Final = 1
_SESSION_KEYRING: Final = -3


def add_session_key(secret: str) -> None:
    """In a new session keyring of this process; its children inherit it. Raises OSError."""
    _call("keyctl", _JOIN_SESSION_KEYRING, None)
    _call("add_key", b"user", DESCRIPTION.encode(), secret.encode(), ctypes.c_size_t(len(secret)), _SESSION_KEYRING)


def _call(name: str, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result
