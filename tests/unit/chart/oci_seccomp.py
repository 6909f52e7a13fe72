"""Turns an OCI seccomp profile into a kernel filter as runc does, and says what the filter answers to a call.

The answers come from running the exported classic BPF program here, so that both architectures
and calls that would harm this machine can be asked about (struct seccomp_data: seccomp(2)).
"""

import struct
import tempfile
from collections.abc import Mapping
from typing import Any

import pyseccomp

_ACTIONS = {"SCMP_ACT_ALLOW": pyseccomp.ALLOW}
_OPS = {"SCMP_CMP_EQ": pyseccomp.EQ}
_ARCHITECTURES = {"SCMP_ARCH_X86_64": pyseccomp.Arch.X86_64, "SCMP_ARCH_AARCH64": pyseccomp.Arch.AARCH64}

X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
X32_BIT = 0x40000000

ALLOW = 0x7FFF0000
KILL_THREAD = 0x00000000


def errno_answer(number: int) -> int:
    """What a filter returns for "fail with this errno"."""
    return 0x00050000 | number


def build_filter(profile: Mapping[str, Any]) -> pyseccomp.SyscallFilter:
    """The profile as libseccomp's filter. Names that libseccomp does not know are left out, as runc leaves them."""
    seccomp = pyseccomp.SyscallFilter(_action(profile["defaultAction"], profile.get("defaultErrnoRet", 1)))
    for name in profile["architectures"]:
        if not seccomp.exist_arch(_ARCHITECTURES[name]):
            seccomp.add_arch(_ARCHITECTURES[name])
    for rule in profile["syscalls"]:
        action = _action(rule["action"], rule.get("errnoRet", 1))
        arguments = [pyseccomp.Arg(item["index"], _OPS[item["op"]], item["value"]) for item in rule.get("args", ())]
        for name in rule["names"]:
            if pyseccomp.resolve_syscall(pyseccomp.Arch.X86_64, name) != -1:
                seccomp.add_rule(action, name, *arguments)
    return seccomp


def _action(name: str, errno: int) -> int:
    return int(pyseccomp.ERRNO(errno)) if name == "SCMP_ACT_ERRNO" else int(_ACTIONS[name])


def export_program(seccomp: pyseccomp.SyscallFilter) -> list[tuple[int, int, int, int]]:
    """The filter's BPF program: (code, jump if true, jump if false, operand) each."""
    with tempfile.TemporaryFile() as file:
        seccomp.export_bpf(file)
        file.seek(0)
        return list(struct.iter_unpack("<HBBI", file.read()))


def answer(program: list[tuple[int, int, int, int]], arch: int, number: int, *args: int) -> int:
    """What the kernel would do with the call: an action, with its data in the low 16 bits."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *args, *[0] * (6 - len(args)))
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        match code:
            case 0x20:  # load a word of seccomp_data
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x54:  # and
                accumulator &= operand
            case 0x05:  # jump always
                at += operand
            case 0x15:  # jump if equal
                at += if_true if accumulator == operand else if_false
            case 0x25:  # jump if greater
                at += if_true if accumulator > operand else if_false
            case 0x35:  # jump if greater or equal
                at += if_true if accumulator >= operand else if_false
            case 0x06:  # return
                return operand
            case _:
                raise ValueError(f"an instruction that libseccomp does not write: {code:#x}")
