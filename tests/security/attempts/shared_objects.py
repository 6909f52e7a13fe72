"""System V and POSIX shared objects of the test, readable and writable for the executor's uid, each with a secret.

By ctypes: the standard library has no names for these calls (shmget(2), semget(2), msgget(2), mq_overview(7)).
"""

import ctypes
import os
import secrets
from pathlib import Path
from typing import Any, Final

IPC_CREAT, IPC_EXCL, IPC_RMID, IPC_STAT, GETVAL, SETVAL = 0o1000, 0o2000, 0, 2, 12, 16
_MODE: Final = 0o666
_SEGMENT_BYTES: Final = 4096
_MESSAGE_TYPE: Final = 1
_SHM: Final = Path("/dev/shm")
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]


class _Message(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_long), ("text", ctypes.c_char * 256)]


class SharedObjects:
    """One of each kind; ``remove`` takes all away again."""

    def __init__(self, contents: dict[str, str]) -> None:
        """``contents``: the secrets in ``shm``, ``msg``, ``posix_shm`` and ``posix_mq``. Raises OSError."""
        self._contents = contents
        self._name = f"attempts-{secrets.token_hex(8)}"
        self._key = secrets.randbelow(2**30) + 1
        self._shm_id = _call("shmget", self._key, _SEGMENT_BYTES, IPC_CREAT | IPC_EXCL | _MODE)
        self._address = _libc.shmat(self._shm_id, None, 0)
        ctypes.memmove(self._address, contents["shm"].encode(), len(contents["shm"]))
        self._sem_id = _call("semget", self._key, 1, IPC_CREAT | IPC_EXCL | _MODE)
        _call("semctl", self._sem_id, 0, SETVAL, 1)
        self._msg_id = _call("msgget", self._key, IPC_CREAT | IPC_EXCL | _MODE)
        message = _Message(_MESSAGE_TYPE, contents["msg"].encode())
        _call("msgsnd", self._msg_id, ctypes.byref(message), len(contents["msg"]), 0)
        self._posix_shm.write_text(contents["posix_shm"])
        self._posix_shm.chmod(_MODE)
        self._queue = _call("mq_open", self._mq_name, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE, None)
        _call("mq_send", self._queue, contents["posix_mq"].encode(), len(contents["posix_mq"]), 0)

    @property
    def _posix_shm(self) -> Path:
        return _SHM / self._name

    @property
    def _mq_name(self) -> bytes:
        return f"/{self._name}".encode()

    def facts(self) -> dict[str, object]:
        """Ids, key (one for all three System V objects) and names."""
        return {
            "shm_id": self._shm_id,
            "sem_id": self._sem_id,
            "msg_id": self._msg_id,
            "shm_key": self._key,
            "posix_shm": self._name,
            "posix_mq": f"/{self._name}",
            "unused_key": self._key + 1,
        }

    def segment_stayed(self) -> bool:
        """Whether somebody made a segment with the key that nobody of the test uses."""
        return int(_libc.shmget(self._key + 1, 0, 0)) >= 0

    def changed(self) -> bool:
        """Whether one of them is gone or not as it was made."""
        try:
            return (
                self._segment_text() != self._contents["shm"]
                or _call("semctl", self._sem_id, 0, GETVAL) != 1
                or self._messages() != 1
                or self._posix_shm.read_text() != self._contents["posix_shm"]
                or self._posix_messages() != 1
            )
        except OSError:
            return True

    def remove(self) -> None:
        """Those that are still there."""
        _libc.shmdt(ctypes.c_void_p(self._address))
        _libc.shmctl(self._shm_id, IPC_RMID, None)
        _libc.shmctl(_libc.shmget(self._key + 1, 0, 0), IPC_RMID, None)
        _libc.semctl(self._sem_id, 0, IPC_RMID)
        _libc.msgctl(self._msg_id, IPC_RMID, None)
        self._posix_shm.unlink(missing_ok=True)
        _libc.mq_close(self._queue)
        _libc.mq_unlink(self._mq_name)

    def _segment_text(self) -> str:
        _call("shmctl", self._shm_id, IPC_STAT, ctypes.create_string_buffer(512))
        return ctypes.string_at(self._address).decode("latin-1")

    def _messages(self) -> int:
        """How many there are: trying to take more than the type that was sent would change them."""
        state = ctypes.create_string_buffer(512)
        _call("msgctl", self._msg_id, IPC_STAT, state)
        # struct msqid_ds (<bits/types/struct_msqid_ds.h>): struct ipc_perm, three times, bytes, then the number.
        words = (ctypes.c_ulong * 64).from_buffer(state)
        return int(words[_IPC_PERM_WORDS + 4])

    def _posix_messages(self) -> int:
        attributes = (ctypes.c_long * 8)()
        _call("mq_getattr", self._queue, attributes)
        return int(attributes[3])


_IPC_PERM_WORDS: Final = 6
"""sizeof(struct ipc_perm) is 48 on every 64-bit architecture with glibc."""


def _call(name: str, *arguments: Any) -> int:
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result
