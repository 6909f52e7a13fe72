"""What is bound into sandboxes besides the workspace, and that it still is what was probed.

bwrap takes sources by path. Nobody but root can put something else at these paths, and then nothing is started: type,
device and inode are looked at before each start, as those of the workspace are (``workspace``).
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from executor_runtime.sandbox.errors import BindSourceChanged


@dataclass(frozen=True)
class BindSource:
    """A directory by its path and its identity."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> "BindSource":
        """As it is now.

        Raises:
            BindSourceChanged: it is no directory, or a link to one.
        """
        try:
            found = os.lstat(path)
        except OSError as error:
            raise BindSourceChanged(f"{path} cannot be bound into sandboxes: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode):
            raise BindSourceChanged(f"{path} cannot be bound into sandboxes: it is no directory of its own")
        return cls(path, found.st_dev, found.st_ino)


def check_sources(sources: Iterable[BindSource]) -> None:
    """Raises BindSourceChanged when one of them is not what it was."""
    for source in sources:
        if BindSource.of(source.path) != source:
            raise BindSourceChanged(f"{source.path} is not the directory that was probed: start the executor again")
