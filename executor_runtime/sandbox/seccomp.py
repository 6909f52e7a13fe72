"""The system calls that user code cannot make, as a BPF program for ``bwrap --seccomp``.

Everything is allowed but what reaches kernel code that a sandbox has no use for: namespaces and
mounts, keyrings, tracing of other processes, BPF, io_uring, loading code into the kernel. The list follows
the default profiles of Docker and containerd, which also name the reasons
(https://docs.docker.com/engine/security/seccomp/). bwrap loads it before process 1 starts.
"""

import errno
import socket
import tempfile
from functools import lru_cache
from typing import Final

import pyseccomp

_EPERM: Final = pyseccomp.ERRNO(errno.EPERM)
_ENOSYS: Final = pyseccomp.ERRNO(errno.ENOSYS)

_REFUSED: Final = {
    "namespaces and mounts": """
        unshare setns mount umount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig
        fsmount fspick mount_setattr statmount listmount""",
    "keyrings, which no namespace divides": "add_key keyctl request_key",
    "other processes' memory": "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd",
    "large parts of the kernel that code here has no use for": """
        bpf perf_event_open io_uring_setup io_uring_enter io_uring_register userfaultfd lookup_dcookie fanotify_init
        vmsplice modify_ldt vm86 vm86old uselib ustat sysfs _sysctl nfsservctl""",
    "the machine": """
        kexec_load kexec_file_load init_module finit_module delete_module create_module get_kernel_syms query_module
        settimeofday clock_settime clock_settime64 clock_adjtime clock_adjtime64 adjtimex stime swapon swapoff reboot
        acct quotactl quotactl_fd syslog sethostname setdomainname iopl ioperm vhangup""",
    "the node's memory policy": "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
    "files by handle instead of by path": "name_to_handle_at open_by_handle_at",
}

_NAMESPACE_FLAGS: Final = (
    0x00000080,  # CLONE_NEWTIME
    0x00020000,  # CLONE_NEWNS
    0x02000000,  # CLONE_NEWCGROUP
    0x04000000,  # CLONE_NEWUTS
    0x08000000,  # CLONE_NEWIPC
    0x10000000,  # CLONE_NEWUSER
    0x20000000,  # CLONE_NEWPID
    0x40000000,  # CLONE_NEWNET
)
_AF_INET6: Final = int(socket.AF_INET6)
_SOCKET_FAMILIES: Final = (int(socket.AF_UNIX), int(socket.AF_INET), _AF_INET6)
_TTY_INPUT: Final = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing into a terminal that is shared with others
_INT: Final = 0xFFFFFFFF
"""The kernel reads 32 bits of an int; a rule that compared all 64 of the register could be walked around."""

_NUMBERS: Final = {
    "quotactl_fd": 443,
    "set_mempolicy_home_node": 450,
    "statmount": 457,
    "listmount": 458,
    "open_tree_attr": 467,
}
"""Calls that Debian 12's libseccomp has no name for; numbers from 424 on are the same everywhere."""
_UNKNOWN: Final = -1  # __NR_SCMP_ERROR


@lru_cache(maxsize=1)
def build_filter() -> bytes:
    """The program for this machine's architecture, about 1 KiB.

    Raises:
        RuntimeError: libseccomp cannot make it.
    """
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    # A second ABI is a second table of system calls, with numbers that no rule here names.
    rules.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    for name in refused_calls():
        _refuse(rules, _EPERM, name)
    _refuse(rules, _ENOSYS, "clone3")  # its flags are in memory, out of a filter's sight; libc then uses clone
    for flag in _NAMESPACE_FLAGS:
        _refuse(rules, _EPERM, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    for call in ("socket", "socketpair"):
        _refuse(rules, _EPERM, call, pyseccomp.Arg(0, pyseccomp.GT, _AF_INET6))
        for family in set(range(_AF_INET6)).difference(_SOCKET_FAMILIES):
            _refuse(rules, _EPERM, call, pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _INT, family))
    for request in _TTY_INPUT:
        _refuse(rules, _EPERM, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _INT, request))
    _refuse(rules, _EPERM, "personality", pyseccomp.Arg(0, pyseccomp.NE, 0))
    return _exported(rules)


def refused_calls() -> list[str]:
    """Names of the calls that are refused whatever their arguments; some architectures have fewer of them."""
    return [name for names in _REFUSED.values() for name in names.split()]


def _refuse(rules: "pyseccomp.SyscallFilter", action: int, name: str, *arguments: "pyseccomp.Arg") -> None:
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number == _UNKNOWN:
        number = _NUMBERS.get(name, _UNKNOWN)
    if number < 0:
        return  # this architecture does not have it
    rules.add_rule(action, number, *arguments)


def _exported(rules: "pyseccomp.SyscallFilter") -> bytes:
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
