"""An interpreter that is up once for all, and forks what becomes process 1 of each sandbox. It never sees user code.

It runs beside the executor, as its user, with nothing of it: an empty environment, no descriptors but its own, no
secrets. Nothing of this package can be imported there but ``init``, whose text it is given; ``forking`` talks to it.
It has a user namespace of its own, of which the executor is the owner: so the executor sees into all that is forked
here, as it sees into all that it starts itself.

For each sandbox it forks a *keeper*. That starts bwrap, which makes namespaces and mounts; its child, the *holder*,
stops short of starting a program in them. The keeper enters what the holder holds: first the user namespace that owns
the others (bwrap makes one for itself and a second one for user code), which gives it the capabilities for the rest. It
makes a pid namespace and forks *process 1* into it, gives its capabilities up, and waits for that process's end.

Process 1 mounts the ``/proc`` of its pid namespace where bwrap has put one, enters the inner user namespace, and gives
up all that bwrap's own child gives up: capabilities, new privileges, and the calls that the filter refuses. Then it is
``init.main``, and from there on nothing differs from a process 1 that bwrap has started.

What all children of one server share: the hash seed, the layout of the address space, and glibc's own secrets.
"""

from __future__ import annotations

import _ctypes
import _signal as signal  # type: ignore[import-not-found]
import _socket
import fcntl
import gc
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
NS_GET_PARENT = 0xB702
MOUNT_FLAGS = 2 | 4 | 8  # nosuid, nodev, noexec, as bwrap mounts it
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = (
    *(1, 4, 22, 24, 38, 47),
)
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522
FILTER_ENTRY_BYTES = 8
NAMESPACES = ("net", "ipc", "uts", "cgroup")
RECEIVED = 9
"""Descriptors of a request: where the keeper reports, and eight for process 1."""
STDERR = 2
"""Among those eight: where bwrap says why it cannot."""
FIRST_FREE = 64
MAX_DESCRIPTORS = 1 << 20
CHILD_PID = b'"child-pid": '
NO_CAPABILITIES = b"\nCapEff:\t0000000000000000\n"
F_SETPIPE_SZ = 1031
KILL_FILTER = (6).to_bytes(2, sys.byteorder) + bytes(2) + (0x80000000).to_bytes(4, sys.byteorder)
"""One instruction of a seccomp program (struct sock_filter): whatever is called, the process is killed. So ends a
holder whose keeper was killed, when its pipe ends; without a word, for its stderr is the user's."""

LIBC = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]


class Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """C's."""

    _type_ = "i"


class Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """What an array in memory is made of."""

    _type_ = "c"


class Function(_ctypes.CFuncPtr):
    """One of libc's: takes integers and bytes, returns an int. ``ctypes`` itself takes long to import."""

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = Int


FUNCTIONS = {name: Function(_ctypes.dlsym(LIBC, name)) for name in ("capset", "mount", "prctl", "setns", "unshare")}
"""Looked up once: a sandbox takes a hundred calls."""


def call(name: str, *arguments: Any) -> None:
    """Raises OSError when the function returns -1."""
    if FUNCTIONS[name](*arguments) == -1:
        error = _ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


class Filter:
    """A seccomp program where the kernel can read it (struct sock_fprog)."""

    def __init__(self, program: bytes) -> None:
        self._instructions = (Byte * len(program)).from_buffer_copy(program)
        address = _ctypes.addressof(self._instructions)
        count = len(program) // FILTER_ENTRY_BYTES
        self._head = count.to_bytes(8, sys.byteorder) + address.to_bytes(8, sys.byteorder)

    def load(self) -> None:
        """For this process and all that it starts; there is no way back."""
        call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self._head, 0, 0)


def isolate(setup: dict[str, Any]) -> NoReturn:
    """Makes a user namespace and starts anew in it: a process's memory belongs to the one that it was started in."""
    uid, gid = os.getuid(), os.getgid()
    call("unshare", CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    os.lseek(setup["setup_fd"], 0, os.SEEK_SET)
    os.execv(setup["command"][0], setup["command"])  # noqa: S606 - the executor's own words


def main(setup: dict[str, Any]) -> NoReturn:
    """Serves until the executor has closed its end, or has ended."""
    os.close(setup["setup_fd"])
    die_with_parent(setup["parent"])
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.environ.clear()
    os.environ["LANG"] = "C.UTF-8"
    init: dict[str, Any] = {"__name__": "init"}
    exec(marshal.loads(setup["init_code"]), init)  # noqa: S102, S302 - the executor's own
    init["become_like_python"](setup)
    init["rehearse"](os.devnull)
    server = Server(init, Filter(setup["filter"]))
    control = _socket.socket(fileno=setup["control_fd"])
    os.set_inheritable(setup["control_fd"], False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps keepers
    gc.collect()
    gc.freeze()  # so that a collection in a child does not copy what it inherits
    control.send(b"ready")
    while True:
        server.serve_one(control)


def die_with_parent(parent: int) -> None:
    """Whatever ends it (prctl(2)). Ends now if it has ended already; 0: it cannot be told from here."""
    call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if parent and os.getppid() != parent:
        os._exit(1)


class Server:
    """What every fork has in common."""

    def __init__(self, init: dict[str, Any], seccomp_filter: Filter) -> None:
        self._init, self._filter = init, seccomp_filter
        self._pid = os.getpid()

    def serve_one(self, control: _socket.socket) -> None:
        """Waits for one request and forks a keeper for it."""
        space = _socket.CMSG_SPACE(4 * RECEIVED)
        message, ancillary, _, _ = control.recvmsg(4096, space, _socket.MSG_CMSG_CLOEXEC)  # bwrap needs none of them
        if not message:
            os._exit(0)
        received = [
            int.from_bytes(data[at : at + 4], sys.byteorder, signed=True)
            for _, _, data in ancillary
            for at in range(0, len(data), 4)
        ]
        try:
            if len(received) == RECEIVED and os.fork() == 0:
                control.close()
                self._keep(marshal.loads(message), received)  # noqa: S302 - from the executor
        except OSError as error:  # no process can be made now; all that run already depend on this one
            fail(received[0], error)
        for descriptor in received:
            os.close(descriptor)

    def _keep(self, request: dict[str, Any], received: list[int]) -> NoReturn:
        """The keeper."""
        report_fd, handed = received[0], received[1:]
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with_parent(self._pid)
            os.write(report_fd, b"keeper %d\n" % os.getpid())
            holder = Holder(request["argv"], request["info_fd"], handed[STDERR])
            inner = enter(holder)
            first = os.fork()
            if first == 0:
                self._become_process_1(request, handed, inner)
            os.write(report_fd, b"init %d\n" % first)
            for descriptor in (*handed, inner):
                os.close(descriptor)  # or what process 1 closes would not be closed
            give_up_capabilities()
            die_with_parent(self._pid)  # the kernel forgets that whenever capabilities come
            _, status, used = os.wait4(first, 0)
            cpu_us = int((used.ru_utime + used.ru_stime) * 1e6)
            read, written = used.ru_inblock * 512, used.ru_oublock * 512
            code = os.waitstatus_to_exitcode(status)
            os.write(report_fd, b"reaped %d %d %d %d\n" % (code, cpu_us, read, written))
            holder.end()
        except BaseException as error:
            fail(report_fd, error)
        finally:
            os._exit(0)

    def _become_process_1(self, request: dict[str, Any], received: list[int], inner: int) -> NoReturn:
        status = 1
        try:
            os.dup2(received[STDERR], STDERR)  # where it is read what goes wrong from here on
            os.setsid()
            if request["level"] == "full":
                call("mount", b"proc", b"/proc", b"proc", MOUNT_FLAGS, None)
            os.chdir("/workspace")
            call("setns", inner, CLONE_NEWUSER)
            take_descriptors(received, request["numbers"])
            give_up_capabilities()
            die_with_parent(0)
            self._filter.load()
            job_file = open(request["job_fd"], "rb")  # noqa: SIM115 - ``init`` closes it
            if request["check"]:
                exec(job_file.read(), {"__name__": "check"})  # noqa: S102 - the executor's own
                sys.stdout.flush()
                status = 0
            else:
                self._init["main"](job_file)
        except BaseException as error:
            os.write(2, f"sandbox: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
        finally:
            os._exit(status)


class Holder:
    """bwrap's child, which has made everything, and reads the filter that it is to load before it starts a program.

    The filter comes through a pipe that never ends while this lives, so no program is started: that would take as long
    as all mounts together. The pipe has one slot, and what fills it is taken when the filter is read, after all else.
    """

    def __init__(self, argv: list[str], info_fd: int, stderr: int) -> None:
        """Raises OSError when it does not come up; bwrap has said why on ``stderr`` then."""
        filter_end, self._hold = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
        info, tells_info = os.pipe()
        fcntl.fcntl(self._hold, F_SETPIPE_SZ, 1)
        os.write(self._hold, KILL_FILTER)
        actions = [(filter_end, 0), (stderr, 1), (stderr, STDERR), (tells_info, info_fd)]
        duplicates = [(os.POSIX_SPAWN_DUP2, *ends) for ends in actions]
        self._bwrap = os.posix_spawn(argv[0], argv, {}, file_actions=duplicates)
        os.close(filter_end)
        os.close(tells_info)
        try:
            os.write(self._hold, KILL_FILTER)  # waits for the slot
        except BrokenPipeError:
            raise OSError(0, "bwrap has not made the sandbox") from None
        self.pid = self._find(info)
        self._pidfd = os.pidfd_open(self.pid)

    def _find(self, info: int) -> int:
        """The holder's pid, from what bwrap says of its child."""
        text = b""
        while more := os.read(info, 4096):
            text += more
        os.close(info)
        at = text.index(CHILD_PID) + len(CHILD_PID)
        return int(text[at : text.index(b",", at)])

    def check(self) -> None:
        """Raises OSError unless it is there still and bwrap's child (then its pid was given to nobody else), and has
        given up all capabilities, which bwrap does when everything is mounted."""
        with open(f"/proc/{self.pid}/status", "rb") as file:
            status = file.read()
        if b"\nPPid:\t%d\n" % self._bwrap not in status or NO_CAPABILITIES not in status:
            raise OSError(0, "the holder has ended, or has not finished")

    def end(self) -> None:
        """Kills it, and waits until bwrap has ended with it."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.waitpid(self._bwrap, 0)


def enter(holder: Holder) -> int:
    """Enters the namespaces that a process holds, but for the inner user namespace: a descriptor of that.

    What is forked after that is in a new pid namespace.
    """
    names = ("user", "mnt", *NAMESPACES)
    inner, mounts, *others = [os.open(f"/proc/{holder.pid}/ns/{name}", os.O_RDONLY) for name in names]
    holder.check()
    outer = fcntl.ioctl(inner, NS_GET_PARENT)
    call("setns", outer, CLONE_NEWUSER)
    for namespace in others:
        call("setns", namespace, 0)
    call("unshare", CLONE_NEWPID)
    call("setns", mounts, 0)
    for descriptor in (outer, mounts, *others):
        os.close(descriptor)
    return inner


def take_descriptors(received: list[int], numbers: list[int]) -> None:
    """Each under its number, and no others."""
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, FIRST_FREE) for descriptor in received]
    for descriptor, number in zip(aside, numbers, strict=True):
        os.dup2(descriptor, number, inheritable=number <= 2)
    kept = sorted(numbers)
    for number, following in zip(kept, [*kept[1:], MAX_DESCRIPTORS], strict=True):
        os.closerange(number + 1, following)


def give_up_capabilities() -> None:
    """All sets, the bounding set too: nothing that is started from here can have any."""
    call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(64):
        try:
            call("prctl", PR_CAPBSET_DROP, number, 0, 0, 0)
        except OSError:
            break  # the kernel has no more
    header = CAPABILITY_VERSION_3.to_bytes(4, sys.byteorder) + bytes(4)
    call("capset", header, bytes(24))


def fail(report_fd: int, error: BaseException) -> None:
    """One line on why there is no sandbox."""
    try:
        os.write(report_fd, f"failed {type(error).__name__}: {error}".replace("\n", " ")[:500].encode() + b"\n")
    except OSError:
        return
