"""Which system calls user code cannot make, and why: the table that ``seccomp`` makes a program of.

Everything else is allowed. The list began as what the default profiles of Docker and containerd leave out
(https://docs.docker.com/engine/security/seccomp/); what they allow and this does not is what sandboxes of one
executor, or of one node, share. ``docs/security.md`` shows the same table; a test holds the two together.
"""

import errno
import socket
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

INT: Final = 0xFFFFFFFF
"""The kernel reads 32 bits of an int; a rule that compared all 64 of the register could be walked around."""


class Argument(NamedTuple):
    """One condition on an argument: masked, it is the value; or, unmasked, it is above it."""

    number: int
    value: int
    mask: int = INT
    above: bool = False


Match = tuple[Argument, ...]
"""Conditions that hold together."""


@dataclass(frozen=True)
class Refusal:
    """Calls that are refused for one reason, whatever their arguments or where one of ``matches`` holds."""

    calls: tuple[str, ...]
    why: str
    when: str = ""
    """The matches, for people."""
    matches: tuple[Match, ...] = ((),)
    error: int = errno.EPERM


def _always(calls: str, why: str) -> Refusal:
    return Refusal(tuple(calls.split()), why)


def _flag(index: int, flag: int) -> Match:
    return (Argument(index, flag, flag),)


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
_CLONE_THREAD: Final = 0x00010000
_CLONE_FILES: Final = 0x00000400
_CLOSE_RANGE_UNSHARE: Final = 2

_UNIX, _INET, _INET6 = int(socket.AF_UNIX), int(socket.AF_INET), int(socket.AF_INET6)
_OTHER_FAMILIES: Final = (
    (Argument(0, _INET6, above=True),),
    *((Argument(0, family),) for family in range(_INET6) if family not in (_UNIX, _INET)),
)
_PROTOCOLS: Final = (0, int(socket.IPPROTO_TCP), int(socket.IPPROTO_UDP))
_OTHER_PROTOCOLS: Final = tuple(
    (Argument(0, family), protocol)
    for family, protocol in product(
        (_INET, _INET6),
        (
            Argument(2, max(_PROTOCOLS), above=True),
            *(Argument(2, number) for number in range(max(_PROTOCOLS)) if number not in _PROTOCOLS),
        ),
    )
)
_TCP_ULP: Final = 31

_TIOCSTI, _TIOCLINUX, _TIOCSETD = 0x5412, 0x541C, 0x5423
_ALLOTTING: Final = (0x40305828, 0x4030582A, 0x40305839)  # FS_IOC_RESVSP, FS_IOC_RESVSP64, FS_IOC_ZERO_RANGE
_F_NOTIFY: Final = 1026
_IPC_CREAT: Final = 0o1000
_IPC_PRIVATE: Final = (Argument(0, 0),)

REFUSALS: Final = (
    _always(
        """unshare setns mount umount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig
        fsmount fspick mount_setattr statmount listmount""",
        "Namespaces and mounts: how a sandbox is left, or one begun in which far more of the kernel can be reached.",
    ),
    Refusal(
        ("clone",),
        "The same.",
        "with a flag for a new namespace",
        tuple(_flag(0, flag) for flag in _NAMESPACE_FLAGS),
    ),
    Refusal(
        ("clone3",),
        "Its flags are in memory, out of a filter's sight. It is ENOSYS, so that libc uses clone.",
        error=errno.ENOSYS,
    ),
    _always("add_key keyctl request_key", "No namespace divides keyrings, and their quota is the uid's."),
    _always(
        "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd",
        "Other processes' memory and descriptors, process 1's among them.",
    ),
    Refusal(
        ("prlimit64",),
        "Limits for process 1, by which it would end and the sandbox be blamed; a process limits itself with pid 0.",
        "sets a limit of a process named by its pid",
        ((Argument(0, 0, above=True), Argument(2, 0, above=True)),),
    ),
    _always("bpf perf_event_open", "Programs and counters in the kernel: side channels, and a long list of bugs."),
    _always(
        "io_uring_setup io_uring_enter io_uring_register",
        "A second way to make calls, which no filter sees, and another long list.",
    ),
    _always(
        "io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents",
        "The old asynchronous interface: its quota (fs.aio-max-nr) is the whole node's.",
    ),
    _always("userfaultfd", "Stops the kernel in the middle of a copy: the usual tool to win a race."),
    _always(
        """lookup_dcookie vmsplice modify_ldt vm86 vm86old uselib ustat sysfs _sysctl nfsservctl remap_file_pages
        lsm_set_self_attr""",
        "Parts of the kernel that code here has no use for; most are old, and have had bugs.",
    ),
    _always(
        "fanotify_init fanotify_mark inotify_init inotify_init1 inotify_add_watch cachestat",
        "Tell which files of /usr neighbours use; and inotify's quota is the uid's.",
    ),
    Refusal(("fcntl",), "The same, by signal.", "F_NOTIFY", ((Argument(1, _F_NOTIFY),),)),
    _always(
        "kexec_load kexec_file_load init_module finit_module delete_module create_module get_kernel_syms query_module",
        "Load code into the node's kernel.",
    ),
    _always(
        "settimeofday clock_settime clock_settime64 clock_adjtime clock_adjtime64 adjtimex stime",
        "The node's clocks. The kernel asks for privileges too; so for all that follow down to vhangup.",
    ),
    _always(
        "swapon swapoff reboot acct quotactl quotactl_fd syslog sethostname setdomainname iopl ioperm vhangup",
        "The node itself: swap, accounts, quotas, its log, names, hardware, terminals.",
    ),
    _always(
        "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
        "Where memory lies is the pod's and the node's affair; move_pages also tells physical neighbours apart.",
    ),
    _always("name_to_handle_at open_by_handle_at", "Open files by number, past every mount."),
    _always(
        "memfd_create memfd_secret",
        "Memory that belongs to no process, so that nobody who looks at processes sees it.",
    ),
    Refusal(
        ("shmget", "semget"),
        "System V objects outlive the processes that use them, and are memory that belongs to none.",
        "IPC_CREAT, IPC_PRIVATE",
        (_flag(2, _IPC_CREAT), _IPC_PRIVATE),
    ),
    Refusal(("msgget",), "The same.", "IPC_CREAT, IPC_PRIVATE", (_flag(1, _IPC_CREAT), _IPC_PRIVATE)),
    Refusal(
        ("fallocate",),
        "Takes any amount of disk in one call, before anybody can notice. EOPNOTSUPP: posix_fallocate then writes.",
        error=errno.EOPNOTSUPP,
    ),
    Refusal(
        ("ioctl",),
        "The same by another way, beside files' size limit (RLIMIT_FSIZE).",
        "FS_IOC_RESVSP, FS_IOC_RESVSP64, FS_IOC_ZERO_RANGE",
        tuple((Argument(1, request),) for request in _ALLOTTING),
        errno.EOPNOTSUPP,
    ),
    Refusal(
        ("clone",),
        "Threads with descriptors of their own hide files from whoever counts a process's.",
        "a thread (CLONE_THREAD) without CLONE_FILES",
        ((Argument(0, _CLONE_THREAD, _CLONE_THREAD | _CLONE_FILES),),),
    ),
    Refusal(("close_range",), "The same.", "CLOSE_RANGE_UNSHARE", (_flag(2, _CLOSE_RANGE_UNSHARE),)),
    Refusal(
        ("socket", "socketpair"),
        "Other families are large and often broken: packet, netlink, vsock, AF_ALG, Bluetooth, CAN and more.",
        "a family other than AF_UNIX, AF_INET, AF_INET6",
        _OTHER_FAMILIES,
    ),
    Refusal(
        ("socket",),
        "Other protocols load modules: SCTP, DCCP, L2TP, MPTCP, SMC.",
        "AF_INET, AF_INET6 with a protocol other than 0, TCP, UDP",
        _OTHER_PROTOCOLS,
    ),
    Refusal(
        ("setsockopt",),
        "Kernel TLS and the like: modules with bugs, of no use on a loopback device.",
        "TCP_ULP",
        ((Argument(1, int(socket.IPPROTO_TCP)), Argument(2, _TCP_ULP)),),
    ),
    Refusal(
        ("ioctl",),
        "Types into a terminal that is shared with others.",
        "TIOCSTI, TIOCLINUX",
        ((Argument(1, _TIOCSTI),), (Argument(1, _TIOCLINUX),)),
    ),
    Refusal(("ioctl",), "Loads line disciplines: old drivers with bugs.", "TIOCSETD", ((Argument(1, _TIOCSETD),),)),
    Refusal(
        ("personality",),
        "Old emulations, and switching off address randomisation.",
        "another value than 0",
        ((Argument(0, 0, above=True),),),
    ),
)
