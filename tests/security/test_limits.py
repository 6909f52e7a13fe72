"""Limits on disk and memory against code that knows how they are held."""

import errno
import os
from collections.abc import Iterator
from types import SimpleNamespace

import pyseccomp
import pytest

from executor_runtime.sandbox.disk import MAX_DEPTH
from executor_runtime.sandbox.refused import REFUSALS
from tests.security.conftest import Driver, best

pytestmark = pytest.mark.sandbox

MIB = 1 << 20
WRITE = """
import os
def handler(event):
    block = bytes(4 << 20)
    number = 0
    while True:
        with open(f"file-{number // 10}", "ab", 0) as file: file.write(block)
        number += 1
"""
UNLINKED = """
import os
def handler(event):
    file = os.open(".", os.O_TMPFILE | os.O_RDWR)
    while True: os.write(file, bytes(4 << 20))
"""
UNLINKED_BY_A_THREAD = """
import os, threading
def write():
    file = os.open(".", os.O_TMPFILE | os.O_RDWR)
    while True: os.write(file, bytes(4 << 20))
def handler(event):
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
"""
WITHOUT_ITS_FIRST_THREAD = """
import ctypes, os, threading
def write():
    file = os.open(".", os.O_TMPFILE | os.O_RDWR)
    while True: os.write(file, bytes(4 << 20))
threading.Thread(target=write).start()
ctypes.CDLL(None).syscall(EXIT, 0)  # this thread's end, not the process's: /proc/PID shows nothing of it any more
""".replace("EXIT", "60" if os.uname().machine == "x86_64" else "93")
BEHIND_A_CLOSED_DIRECTORY = """
import os
def handler(event):
    os.mkdir("closed")
    file = open("closed/file", "wb", 0)
    os.chmod("closed", 0)
    os.chmod(".", 0o300)
    while True: file.write(bytes(4 << 20))
"""
MANY_FILES = """
import os
def handler(event):
    number = 0
    while True:
        os.close(os.open(f"{event}/{number}", os.O_CREAT))
        number += 1
"""
MANY_NAMES = """
import os
def handler(event):
    open("file", "w").close()
    number = 0
    while True:
        os.link("file", str(number))
        number += 1
"""
FINE = "import time\ndef handler(event):\n  time.sleep(1)\n  open('kept', 'w').write('x')\n  return 'fine'"


def message(run: SimpleNamespace) -> tuple[str, str, str]:
    return run.result["status"], run.result["reason"], run.result["message"]


@pytest.mark.parametrize(
    "code",
    [WRITE, UNLINKED, UNLINKED_BY_A_THREAD, WITHOUT_ITS_FIRST_THREAD, BEHIND_A_CLOSED_DIRECTORY],
    ids=["files", "unlinked", "unlinked by a thread", "without its first thread", "behind a closed directory"],
)
def test_a_workspace_over_its_size_ends_the_run_and_no_neighbour(driver: Driver, code: str) -> None:
    """In ten seconds, by the best of three tries."""

    def make() -> SimpleNamespace:
        bomb, neighbour = driver.run_all([{"code": code, "limits": {"workspace_bytes": 64 * MIB}}, {"code": FINE}])
        assert message(bomb) == ("failed", "DiskLimit", "the workspace held more than its limit of 64 MiB")
        assert bomb.result["exit_code"] == 137
        assert neighbour.result["return_value"] == "fine"
        assert neighbour.result["artifacts"] == ["kept"]
        return bomb

    assert best(make, lambda bomb: bomb.duration_s < 10).duration_s < 10


@pytest.mark.parametrize(("code", "event"), [(MANY_FILES, "."), (MANY_NAMES, None)], ids=["files", "names"])
def test_too_many_files_end_the_run(driver: Driver, code: str, event: str | None) -> None:
    run = driver.run(code, event=event, limits={"workspace_entries": 1000})
    assert message(run) == (
        "failed",
        "DiskLimit",
        "the workspace held more files and directories than its limit of 1000",
    )


def test_the_number_of_files_is_exact_at_the_end(full: Driver) -> None:
    made = "import os\ndef handler(event):\n  for n in range(event): os.close(os.open(str(n), os.O_CREAT))\n  return n"
    assert full.run(made, event=300, limits={"workspace_entries": 300}).result["return_value"] == 299
    assert full.run(made, event=301, limits={"workspace_entries": 300}).result["reason"] == "DiskLimit"


@pytest.mark.parametrize("where", ["/tmp", "/dev/shm"])
def test_files_in_memory_have_the_same_bound(driver: Driver, where: str) -> None:
    """Their size is none of what ``/tmp`` may hold, and each takes a kilobyte of the kernel's memory."""
    run = driver.run(MANY_FILES, event=where)
    told = "/tmp and /dev/shm held more files and directories than the limit of 20000"
    assert message(run) == ("failed", "DiskLimit", told)


@pytest.mark.parametrize("size_mib", [31, 33])
def test_a_run_that_is_over_before_anybody_looks_is_judged_by_what_it_leaves(full: Driver, size_mib: int) -> None:
    code = f"def handler(event):\n  open('file', 'wb').write(bytes({size_mib} << 20))\n  return 'done'"
    run = full.run(code, limits={"workspace_bytes": 32 * MIB})
    assert (run.result["reason"], run.result["return_value"]) == (
        ("Completed", "done") if size_mib < 32 else ("DiskLimit", None)
    )


def test_a_session_counts_as_one_workspace(full: Driver) -> None:
    code = "def handler(event): open(event, 'wb').write(bytes(20 << 20))"
    runs = [full.run(code, event=name, session="full", limits={"workspace_bytes": 50 * MIB}) for name in "abc"]
    assert [run.result["reason"] for run in runs] == ["Completed", "Completed", "DiskLimit"]


def test_depth_is_bounded(full: Driver) -> None:
    code = """
import os
def handler(event):
    for _ in range(event):
        os.mkdir("d")
        os.chdir("d")
"""
    assert full.run(code, event=MAX_DEPTH).result["reason"] == "Completed"
    assert message(full.run(code, event=2000)) == (
        "failed",
        "DiskLimit",
        f"directories in the workspace were nested deeper than {MAX_DEPTH} levels",
    )


def test_what_code_does_to_modes_stays_as_it_was(full: Driver) -> None:
    """Counting opens what is closed for as long as it takes; code that looks again finds it closed."""
    code = """
import os, time
def handler(event):
    os.makedirs("closed/below")
    os.chmod("closed/below", 0o400)
    os.chmod("closed", 0o100)
    for number in range(30):  # so that there is something to look at
        open(f"file-{number}", "wb").write(bytes(1 << 20))
        time.sleep(0.03)
    for _ in range(100):
        modes = [os.stat(path).st_mode & 0o777 for path in ("closed", "closed/below")]
        if modes == [0o100, 0o400]: break
        time.sleep(0.1)
    return modes
"""
    run = full.run(code, limits={"workspace_bytes": 60 * MIB})
    assert run.result["return_value"] == [0o100, 0o400]


def test_files_in_memory_are_memory(driver: Driver) -> None:
    code = """
import time
def handler(event):
    for path in ("/tmp/file", "/dev/shm/file"): open(path, "wb").write(bytes(60 << 20))
    own = b"x" * (event[0] << 20)
    time.sleep(event[1])
    return "fine"
"""
    limits = {"memory_bytes": 160 * MIB}
    assert driver.run(code, event=[10, 1], limits=limits).result["return_value"] == "fine"
    assert driver.run(code, event=[60, 30], limits=limits).result["reason"] == "MemoryLimit"


@pytest.mark.parametrize("tmp_mib", [16, 100])
def test_tmp_has_the_size_that_is_asked_for(driver: Driver, tmp_mib: int) -> None:
    code = """
import os
def handler(event):
    return [os.statvfs(path).f_blocks * os.statvfs(path).f_frsize for path in ("/tmp", "/dev/shm")]
"""
    run = driver.run(code, limits={"tmp_bytes": tmp_mib * MIB})
    assert run.result["return_value"] == [tmp_mib * MIB] * 2


HELD_BY_NOBODY = """
import mmap, time
def handler(event):
    kept = []
    while True:
        shared = mmap.mmap(-1, 16 << 20)
        for at in range(0, len(shared), 4096): shared[at] = 1
        shared.madvise(mmap.MADV_DONTNEED)  # resident in no process, and still in memory
        kept.append(shared)
"""
PAGE_TABLES = """
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
def handler(event):
    start = libc.mmap(None, 1 << 40, 1, 0x4022, -1, 0)  # to read only: RLIMIT_DATA does not count it
    libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(1 << 40), 15)  # no huge pages
    for at in range(0, 1 << 40, 2 << 20): ctypes.c_char.from_address(start + at).value
    time.sleep(30)
"""


WITHOUT_A_FIRST_THREAD = """
import ctypes, threading
def fill():
    kept = []
    while True: kept.append(b"x" * 4_000_000)
threading.Thread(target=fill).start()
ctypes.CDLL(None).syscall(EXIT, 0)
""".replace("EXIT", "60" if os.uname().machine == "x86_64" else "93")


@pytest.mark.parametrize(
    "code",
    [HELD_BY_NOBODY, PAGE_TABLES, WITHOUT_A_FIRST_THREAD],
    ids=["shared and not resident", "page tables", "without a first thread"],
)
def test_memory_that_is_hard_to_see_counts(driver: Driver, code: str) -> None:
    bomb, neighbour = driver.run_all([{"code": code, "limits": {"memory_bytes": 128 * MIB}}, {"code": FINE}])
    assert bomb.result["reason"] == "MemoryLimit"
    assert neighbour.result["return_value"] == "fine"


def test_address_space_that_is_only_reserved_is_free(full: Driver) -> None:
    code = """
import mmap, time
def handler(event):
    reserved = mmap.mmap(-1, 600 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
    time.sleep(0.5)
    return len(reserved)
"""
    assert full.run(code, limits={"memory_bytes": 128 * MIB}).result["return_value"] == 600 << 20


HIDDEN = """
import os, socket, time
def handler(event):
    sender, receiver = socket.socketpair()
    while True:
        try:
            file = os.open(".", os.O_TMPFILE | os.O_RDWR)
            os.write(file, bytes(1 << 20))
            socket.send_fds(sender, [b"x"], [file])  # no process holds it, and it has no name
        except OSError: pass
        os.close(file)
        time.sleep(0.01)
"""
STEADY = """
import time
def handler(event):
    with open("steady", "wb", 0) as file:
        for _ in range(40):
            file.write(bytes(100_000))
            time.sleep(0.05)
    return "fine"
"""


@pytest.fixture
def small() -> Iterator[Driver]:
    """Sandboxes whose workspaces are on a volume of 128 MiB."""
    mounted = "mkdir ROOT/workspaces && mount -t tmpfs -o size=128m,uid=1000,mode=700 tmpfs ROOT/workspaces"
    driver = Driver("full", ["unshare", "--mount", "sh", "-c", f'{mounted} && exec "$0" "$@"'])
    yield driver
    driver.close()


def test_who_hides_files_cannot_fill_the_disk_for_others(small: Driver) -> None:
    """In one of three: an executor that stands still while the last tenth fills cannot see it in time."""

    def make() -> SimpleNamespace:
        hiding, steady = small.run_all([{"code": HIDDEN}, {"code": STEADY}])
        assert message(hiding) == (
            "failed",
            "DiskLimit",
            "the disk of all workspaces was nearly full, and of all executions this one had written most",
        )
        return steady

    steady = best(make, lambda run: run.result["return_value"] == "fine")
    assert steady.result["return_value"] == "fine", steady.stderr


def test_many_files_that_nobody_sees_are_seen_at_the_volume(small: Driver) -> None:
    """The disk is full of others' files: who has written little is left to the file system's own error."""
    fill = "def handler(event):\n  open('file', 'wb').write(bytes(100 << 20))"
    assert small.run(fill, limits={"workspace_bytes": 120 * MIB}, session="kept").result["reason"] == "Completed"
    more = "import time\ndef handler(event):\n  open('file', 'wb').write(bytes(1 << 20))\n  time.sleep(1)\n  return 1"
    assert small.run(more).result["return_value"] == 1


ALLOT = """
import ctypes, fcntl, os, struct
libc = ctypes.CDLL(None, use_errno=True)
def handler(event):
    file = os.open("file", os.O_CREAT | os.O_RDWR)
    found = []
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    found.append([libc.fallocate(file, 1, 0, 8 << 20), ctypes.get_errno()])  # FALLOC_FL_KEEP_SIZE
    for request in (0x40305828, 0x4030582a, 0x40305839):
        space = struct.pack("=hhiqqiI4i", 0, 0, 0, 0, 8 << 20, 0, 0, 0, 0, 0, 0)
        try: found.append([fcntl.ioctl(file, request, space), 0])
        except OSError as error: found.append([-1, error.errno])
    taken = os.fstat(file).st_blocks * 512
    os.posix_fallocate(file, 0, 1 << 20)
    return [found, taken, os.fstat(file).st_size]
"""


def test_no_call_takes_disk_space_without_writing_it(driver: Driver) -> None:
    """Such a call has no limit but the disk, RLIMIT_FSIZE included; by hand it is done in milliseconds."""
    refused, taken, size = driver.run(ALLOT).result["return_value"]
    assert refused == [[-1, errno.EOPNOTSUPP]] * 4
    assert taken == 0
    assert size == MIB  # posix_fallocate(3) works, by writing


CALLS = """
import ctypes, signal
libc = ctypes.CDLL(None, use_errno=True)
def handler(event):
    answers = []
    for number, arguments in event:
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(value) for value in arguments))
        answers.append(ctypes.get_errno() if result == -1 else 0)
    return answers
"""


def refused_calls() -> list[tuple[str, int, list[int], int]]:
    """(name, number, arguments that are refused, error) of all that this machine's kernel has numbers for."""
    calls = []
    for refusal in REFUSALS:
        for name in refusal.calls:
            number = int(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name))
            for match in refusal.matches if number >= 0 else ():
                arguments = [0] * 6
                for argument in match:
                    arguments[argument.number] = argument.value + argument.above
                calls.append((name, number, arguments, refusal.error))
    return calls


def test_every_call_of_the_table_is_refused(driver: Driver) -> None:
    """Also where an argument has more bits set than the kernel reads."""
    calls = refused_calls()
    run = driver.run(CALLS, event=[[number, arguments] for _, number, arguments, _ in calls])
    answers = run.result["return_value"]
    wrong = [
        (name, arguments, got) for (name, _, arguments, error), got in zip(calls, answers, strict=True) if got != error
    ]
    assert wrong == []
    assert len(calls) > 100
    high = [[number, [value | 1 << 32 for value in arguments]] for _, number, arguments, _ in calls]
    run = driver.run(CALLS, event=high)
    assert run.result["return_value"] == [error for *_, error in calls]


def test_signals_in_the_queue_are_bounded(full: Driver) -> None:
    code = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def handler(event):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
    for sent in range(5000):
        if libc.sigqueue(os.getpid(), signal.SIGRTMIN, None) != 0: return [sent, ctypes.get_errno()]
"""
    sent, error = full.run(code).result["return_value"]
    assert 1000 <= sent <= 1024
    assert error == errno.EAGAIN


def test_priorities_cannot_be_raised(driver: Driver) -> None:
    code = """
import os
def attempt(do):
    try: do()
    except PermissionError: return "refused"
def handler(event):
    os.nice(5)
    return [attempt(lambda: os.nice(-1)), attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))]
"""
    assert driver.run(code).result["return_value"] == ["refused", "refused"]


def test_a_stack_is_bounded_too(full: Driver) -> None:
    code = "import resource\ndef handler(event): return resource.getrlimit(resource.RLIMIT_STACK)"
    soft, hard = full.run(code, limits={"memory_bytes": 64 * MIB}).result["return_value"]
    assert soft == 8 * MIB
    assert hard == 2 * 64 * MIB + 512 * MIB


def test_the_machine_can_do_what_is_refused(tmp_path: os.PathLike[str]) -> None:
    """Else the test of fallocate could not fail."""
    descriptor = os.open(os.path.join(tmp_path, "file"), os.O_CREAT | os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, 8 * MIB)
        assert os.fstat(descriptor).st_blocks * 512 >= 8 * MIB
    finally:
        os.close(descriptor)
