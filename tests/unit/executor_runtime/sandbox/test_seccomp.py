"""The filter as a program; what it does is shown in tests/security."""

import struct

from executor_runtime.sandbox.seccomp import build_filter, refused_calls

INSTRUCTION = struct.Struct("=HBBI")
RETURN = 0x06
ALLOW, ERRNO_EPERM, ERRNO_ENOSYS, KILL_PROCESS = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


def test_the_filter_is_a_program_that_can_only_allow_refuse_or_kill() -> None:
    program = build_filter()
    assert len(program) % INSTRUCTION.size == 0
    ends = {value for code, _, _, value in INSTRUCTION.iter_unpack(program) if code == RETURN}
    assert ends == {ALLOW, ERRNO_EPERM, ERRNO_ENOSYS, KILL_PROCESS}
    assert len(program) // INSTRUCTION.size < 4096  # BPF_MAXINSNS


def test_no_call_is_listed_twice() -> None:
    calls = refused_calls()
    assert len(calls) == len(set(calls))
