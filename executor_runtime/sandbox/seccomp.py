"""The filter on system calls, as a BPF program for ``bwrap --seccomp``, which loads it before process 1 starts.

What it refuses stands in ``refused``. Here is how libseccomp makes a program of that.
"""

import os
from functools import lru_cache
from typing import Final

import pyseccomp

from executor_runtime.sandbox.refused import REFUSALS, Argument, Refusal

_NUMBERS: Final = {
    "close_range": 436,
    "quotactl_fd": 443,
    "set_mempolicy_home_node": 450,
    "cachestat": 451,
    "statmount": 457,
    "listmount": 458,
    "lsm_set_self_attr": 460,
    "open_tree_attr": 467,
}
"""Calls that Debian 12's libseccomp has no name for; numbers from 424 on are the same everywhere."""
_UNKNOWN: Final = -1  # __NR_SCMP_ERROR


@lru_cache(maxsize=1)
def build_filter() -> bytes:
    """The program for this machine's architecture, about 2 KiB.

    Raises:
        RuntimeError: libseccomp cannot make it.
    """
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    # A second ABI is a second table of system calls, with numbers that no rule here names.
    rules.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    for refusal in REFUSALS:
        _refuse(rules, refusal)
    return _exported(rules)


def _refuse(rules: "pyseccomp.SyscallFilter", refusal: Refusal) -> None:
    for name in refusal.calls:
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
        if number == _UNKNOWN:
            number = _NUMBERS.get(name, _UNKNOWN)
        if number < 0:
            continue  # this architecture does not have it
        for match in refusal.matches:
            rules.add_rule(pyseccomp.ERRNO(refusal.error), number, *map(_comparison, match))


def _comparison(argument: Argument) -> "pyseccomp.Arg":
    if argument.above:
        return pyseccomp.Arg(argument.number, pyseccomp.GT, argument.value)
    return pyseccomp.Arg(argument.number, pyseccomp.MASKED_EQ, argument.mask, argument.value)


def _exported(rules: "pyseccomp.SyscallFilter") -> bytes:
    with open(os.memfd_create("filter"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
