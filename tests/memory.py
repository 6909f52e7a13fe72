"""How much memory a process took at most, however seldom a test looks."""

from pathlib import Path
from typing import Self

MIB = 1 << 20


class Peak:
    """The most memory that a process has taken while the block ran, or until somebody asks."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5")  # what it has now is the most from here on
        self._before = self._most = self._look()

    def _look(self) -> int:
        """The kernel's own account (proc(5)), which misses no moment."""
        line = next(line for line in (self._folder / "status").read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    @property
    def grown_mib(self) -> float:
        """More than at its beginning."""
        return (max(self._most, self._look()) - self._before) / MIB

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._most = self._look()
