"""What the executor reads about a sandbox from pipes and from the kernel, where user code has chosen the names."""

import ctypes
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor_runtime.sandbox import tree
from executor_runtime.sandbox.probe import find_shared
from executor_runtime.sandbox.process import _CHILD_PID
from executor_runtime.sandbox.start import EXITED, FAILED, STARTED
from tests.unit.fuzz.profile import fuzzed
from tests.unit.fuzz.strategies import json_values, written

PR_SET_NAME = 15
ME = os.getpid()

words = st.sampled_from(
    [b"started", b"exited", b"failed", b" ", b"\n", b"0", b"1 2 3 4", b"9" * 5000, b"-1", b"\xb2", b"\r"]
)
lines = st.lists(words | st.binary(max_size=5)).map(b"".join)


@fuzzed
@given(lines)
def test_the_status_of_process_1_holds_numbers_or_nothing(status: bytes) -> None:
    for pattern in (STARTED, EXITED):
        found = pattern.search(status)
        if found is not None:
            assert all(0 <= int(field) < 10**18 for field in found.groups())
    exited = EXITED.search(status)
    assert exited is None or int(exited[1]) < 1000
    failed = FAILED.search(status)
    assert failed is None or b"\n" not in failed[1]


@fuzzed
@given(st.one_of(lines, json_values().map(written), json_values().map(lambda pid: written({"child-pid": pid}))))
def test_what_bwrap_tells_is_a_process_or_nothing(info: bytes) -> None:
    found = _CHILD_PID.search(info)
    if found is not None:
        try:
            os.close(os.pidfd_open(int(found[1])))
        except OSError:
            return
    assert set(find_shared(info.decode(errors="replace"))) <= {"cgroup", "ipc", "mnt", "net", "pid", "uts"}


_NASTY = [b"a\rb c", b"a\nb", b") R 1 1", b"\x0b\x0c\x1c\x85", b" (deleted)", b"VmPTE:\t1 kB", b"Pss: 1"]
names = (
    st.binary(min_size=1, max_size=60).map(lambda name: name.translate(None, b"\0/")) | st.sampled_from(_NASTY)
).filter(lambda name: name not in (b"", b".", b".."))


@pytest.fixture(scope="module")
def own_name() -> Iterator[None]:
    before = Path("/proc/self/comm").read_bytes().strip()
    yield
    ctypes.CDLL(None).prctl(PR_SET_NAME, before, 0, 0, 0)


@fuzzed
@given(names)
@pytest.mark.usefixtures("own_name")
def test_no_name_of_a_process_or_a_file_spoils_what_is_read(name: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(os.fsencode(directory), name)
        with open(path, "w+b") as file:
            file.truncate(4096)
            with mmap.mmap(file.fileno(), 4096) as mapped, mmap.mmap(-1, 1 << 20) as shared:
                mapped[:3] = b"abc"
                assert ctypes.CDLL(None).prctl(PR_SET_NAME, name, 0, 0, 0) == 0
                assert sum(tree.shared_memory(ME).values()) >= len(shared)
    assert tree.parent_of(ME) == os.getppid()
    assert tree.Memory.of(ME).resident_bytes > 0
    assert tree.page_table_bytes(ME) > 1024
    assert tree.proportional_bytes(ME)[0] > 1024
    assert tree.children_of(os.getppid()).count(ME) <= 1
