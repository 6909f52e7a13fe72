"""Finished builds, each under a key of all that went into it, whole or not there at all.

A build fills a temporary folder that is renamed into place at the end, so what a crash leaves is never
taken for a result. One build of a kind runs at a time (a file lock, which dies with its holder).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster.progress import say

KEPT = 2
"""Entries of a kind: an upgrade and the way back. What is large and made in a minute is kept once."""


def digest(*parts: object) -> str:
    """Twelve hex digits over ``parts`` (JSON values; paths and others by ``str``)."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file at ``path``; says so when another run has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            say(f"waiting: process {file.read().strip() or '?'} is at {what}")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@dataclass(frozen=True)
class Cache:
    root: Path

    def entry(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def get(self, kind: str, key: str, build: Callable[[Path], None], *, kept: int = KEPT) -> Path:
        """The folder of this entry; ``build(folder)`` fills a new one when it is not there yet."""
        target = self.entry(kind, key)
        if not target.is_dir():
            with locked(self.root / "locks" / f"{kind}.lock", f"building {kind}"):
                if not target.is_dir():
                    self._store(kind, target, build, kept)
        os.utime(target)
        return target

    def _store(self, kind: str, target: Path, build: Callable[[Path], None], kept: int) -> None:
        folder = self.root / "tmp" / kind
        shutil.rmtree(folder, ignore_errors=True)  # of a killed run, whose last process may still be at it
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder))
        temporary.chmod(0o755)
        build(temporary)
        os.sync()  # a power cut after the rename must not find empty files
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(target)
        self._prune(kind, target, kept - 1)

    def _prune(self, kind: str, new: Path, others_kept: int) -> None:
        others = sorted(
            (p for p in (self.root / kind).iterdir() if p != new),
            key=lambda p: p.stat().st_mtime,
            reverse=True,
        )
        for old in others[others_kept:]:
            shutil.rmtree(old, ignore_errors=True)
