"""The filter as a program, and its table in the docs; what it does is shown in tests/security."""

import struct
from collections import Counter
from pathlib import Path

from executor_runtime.sandbox.refused import REFUSALS
from executor_runtime.sandbox.seccomp import build_filter

INSTRUCTION = struct.Struct("=HBBI")
RETURN = 0x06
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
SECURITY = Path(__file__).parents[4] / "docs" / "security.md"
HEADING = "## What user code may not ask of the kernel"


def documented() -> list[tuple[tuple[str, ...], str, str]]:
    """(calls, when, why) of each row."""
    section = SECURITY.read_text().split(HEADING)[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [
        (tuple(name.strip().strip("`") for name in calls.split(",")), when.strip(), why.strip())
        for calls, when, why in rows
    ]


def test_the_filter_is_a_program_that_can_only_allow_refuse_or_kill() -> None:
    program = build_filter()
    assert len(program) % INSTRUCTION.size == 0
    ends = {value for code, _, _, value in INSTRUCTION.iter_unpack(program) if code == RETURN}
    assert ends == {ALLOW, KILL_PROCESS, *(ERRNO | refusal.error for refusal in REFUSALS)}
    assert len(program) // INSTRUCTION.size < 4096  # BPF_MAXINSNS


def test_the_docs_have_the_whole_table() -> None:
    assert documented() == [(refusal.calls, refusal.when or "always", refusal.why) for refusal in REFUSALS]


def test_no_call_is_refused_twice_for_the_same() -> None:
    always = Counter(name for refusal in REFUSALS if not refusal.when for name in refusal.calls)
    assert set(always.values()) == {1}
    sometimes = Counter(name for refusal in REFUSALS for match in refusal.matches if match for name in refusal.calls)
    assert not set(always) & set(sometimes)


def test_every_refusal_says_why_and_when() -> None:
    for refusal in REFUSALS:
        assert refusal.calls
        assert refusal.why.endswith(".")
        assert bool(refusal.when) is (refusal.matches != ((),)), refusal.calls


def test_what_the_issue_lists_is_refused() -> None:
    """Namespaces, mounts, keyrings, bpf, perf, io_uring, userfaultfd, ptrace, kexec, modules and clocks."""
    always = {name for refusal in REFUSALS if not refusal.when for name in refusal.calls}
    assert always >= {
        *("unshare", "setns", "clone3", "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree"),
        *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_tree_attr"),
        *("add_key", "keyctl", "request_key", "bpf", "perf_event_open", "userfaultfd"),
        *("io_uring_setup", "io_uring_enter", "io_uring_register"),
        *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"),
        *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
        *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime"),
    }
