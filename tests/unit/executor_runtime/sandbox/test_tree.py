"""What the kernel tells about processes whose names and files user code has chosen."""

import mmap
import os
from pathlib import Path

import pytest

from executor_runtime.sandbox.tree import shared_memory


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a b", "\x0b\x0c\x1c", "(deleted)"])
def test_the_name_of_a_mapped_file_breaks_no_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(4096))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096) as mapped, mmap.mmap(-1, 1 << 20) as shared:
        assert len(mapped) == 4096
        assert sum(shared_memory(os.getpid()).values()) >= len(shared)
