"""The system calls that any program in an executor pod may make, by category.

Names stand here for x86_64 and aarch64 together; those that one of the two lacks do nothing
there. ``REFUSED`` is not part of the profile: everything unnamed is refused. It names the calls
whose absence matters, with the reason, so that a test notices when one slips into a category.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Category:
    """System calls that are allowed for one reason."""

    title: str
    names: tuple[str, ...]


def _category(title: str, *lines: str) -> Category:
    return Category(title, tuple(name for line in lines for name in line.split()))


ALLOWED: Final = (
    _category(
        "Open, read and write files",
        "open openat openat2 creat close close_range read write pread64 pwrite64 readv writev preadv pwritev",
        "preadv2 pwritev2 lseek dup dup2 dup3 fcntl flock ioctl fsync fdatasync sync syncfs sync_file_range",
        "truncate ftruncate fallocate fadvise64 readahead copy_file_range sendfile splice tee vmsplice memfd_create",
        "cachestat",
    ),
    _category(
        "Names and attributes of files",
        "access faccessat faccessat2 stat lstat fstat newfstatat statx statfs fstatfs readlink readlinkat",
        "getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2",
        "link linkat symlink symlinkat mknod mknodat umask chmod fchmod fchmodat fchmodat2 chown fchown lchown",
        "fchownat utime utimes utimensat futimesat getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr",
        "setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr inotify_init inotify_init1",
        "inotify_add_watch inotify_rm_watch",
    ),
    _category(
        "Memory",
        "mmap mprotect munmap mremap madvise msync brk mincore mlock mlock2 mlockall munlock munlockall mseal",
        "membarrier pkey_alloc pkey_free pkey_mprotect map_shadow_stack",
    ),
    _category(
        "Processes and threads (clone: see profile.SANDBOX_BUILDING)",
        "fork vfork execve execveat exit exit_group wait4 waitid getpid getppid gettid getpgid setpgid getpgrp getsid",
        "setsid pidfd_open pidfd_send_signal set_tid_address set_robust_list get_robust_list rseq arch_prctl prctl",
        "restart_syscall",
    ),
    _category(
        "Signals",
        "kill tkill tgkill rt_sigaction rt_sigprocmask rt_sigpending rt_sigqueueinfo rt_sigreturn rt_sigsuspend",
        "rt_sigtimedwait rt_tgsigqueueinfo sigaltstack signalfd signalfd4 pause alarm",
    ),
    _category(
        "Limits, priorities, CPUs, usage",
        "getrlimit setrlimit prlimit64 getrusage times sysinfo uname getcpu getpriority setpriority ioprio_get",
        "ioprio_set sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam",
        "sched_getscheduler sched_setscheduler sched_getattr sched_setattr sched_get_priority_max",
        "sched_get_priority_min sched_rr_get_interval",
    ),
    _category(
        "Users, groups, capabilities, further confinement of oneself",
        "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid",
        "setresgid setgroups setfsuid setfsgid capget capset seccomp landlock_create_ruleset landlock_add_rule",
        "landlock_restrict_self",
    ),
    _category(
        "Clocks and timers, read only",
        "clock_gettime clock_getres clock_nanosleep gettimeofday time nanosleep getitimer setitimer timer_create",
        "timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime",
    ),
    _category(
        "Waiting, pipes, locks, messages",
        "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait",
        "epoll_pwait epoll_pwait2 eventfd eventfd2 pipe pipe2 futex futex_waitv futex_wake futex_wait futex_requeue",
        "semctl semget semop semtimedop shmat shmctl shmdt shmget msgctl msgget msgrcv msgsnd mq_getsetattr",
        "mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink getrandom",
    ),
    _category(
        "Sockets (socket and socketpair: see profile.CONDITIONAL)",
        "bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt sendto recvfrom sendmsg",
        "recvmsg sendmmsg recvmmsg shutdown",
    ),
)

REFUSED: Final = {
    "add_key": "Kernel keyrings are not namespaced.",
    "request_key": "The same; and it starts a helper on the host.",
    "keyctl": "The same.",
    "bpf": "Programs in the kernel.",
    "perf_event_open": "Side channels and a long list of kernel bugs.",
    "io_uring_setup": "A second way to make calls that no filter sees.",
    "io_uring_enter": "The same.",
    "io_uring_register": "The same.",
    "userfaultfd": "Stops the kernel in the middle of a copy: the usual tool to win a race.",
    "ptrace": "Reads and changes other processes, the executor among them.",
    "process_vm_readv": "The same without stopping them.",
    "process_vm_writev": "The same.",
    "process_madvise": "Acts on the memory of another process.",
    "pidfd_getfd": "Takes a descriptor out of another process.",
    "kcmp": "Tells kernel addresses apart.",
    "chroot": "pivot_root does it properly.",
    "open_by_handle_at": "Opens files outside the mount namespace.",
    "name_to_handle_at": "Makes the handles for it.",
    "fanotify_init": "Watches whole file systems.",
    "open_tree": "The new mount interface: mount is enough for bwrap, and this one has had its own bugs.",
    "move_mount": "The same.",
    "fsopen": "The same.",
    "fsconfig": "The same.",
    "fsmount": "The same.",
    "fspick": "The same.",
    "mount_setattr": "The same.",
    "kexec_load": "Starts another kernel.",
    "kexec_file_load": "The same.",
    "init_module": "Loads code into the kernel.",
    "finit_module": "The same.",
    "delete_module": "Unloads it.",
    "reboot": "The node's.",
    "swapon": "The node's.",
    "swapoff": "The node's.",
    "acct": "The node's.",
    "quotactl": "The node's.",
    "quotactl_fd": "The node's.",
    "syslog": "The kernel's log shows addresses.",
    "settimeofday": "The node's clock.",
    "clock_settime": "The same.",
    "clock_adjtime": "The same.",
    "adjtimex": "The same.",
    "iopl": "Hardware ports.",
    "ioperm": "The same.",
    "modify_ldt": "Old segments, rich in bugs.",
    "vhangup": "Terminals of others.",
    "nfsservctl": "Long gone.",
    "uselib": "Long gone.",
    "remap_file_pages": "Long gone.",
    "lookup_dcookie": "Profiling.",
    "mbind": "NUMA placement, which the pod's cpuset decides.",
    "set_mempolicy": "The same.",
    "migrate_pages": "The same.",
    "move_pages": "The same; and it tells physical neighbours.",
    "io_setup": "The old asynchronous interface: nothing here uses it.",
    "io_submit": "The same.",
    "setdomainname": "bwrap does not set one.",
}
"""Calls that stay refused, each with its reason (docs/security.md)."""
