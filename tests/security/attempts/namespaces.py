"""Namespaces, mounts and roots: an attacker who gets one of his own has the kernel's capabilities in it.

A namespace shows nothing outside by itself. So each attempt uses it for what cannot be done without one, and what the
kernel then gives is what counts: an unmapped uid, a host name, process 1, a file at a path where none was made.
"""

from typing import Final

from tests.security.attempts.model import Attempt
from tests.security.attempts.snippets import EVENT, FACTS, calls, printed, returned, returned_any_of

_NESTED: Final = ("seccomp", "userns_lock")
_OWNER: Final = (*_NESTED, "capabilities", "second_userns")
_UNMAPPED_UID: Final = 65_534
_ADDRESS: Final = "10.11.12.13"
_THROUGH: Final = "through-a-mount"

_FLAGS: Final = """
NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
def in_child(do):
    # what do() returns in a forked child, as text
    r, w = os.pipe()
    if os.fork() == 0:
        try:
            os.write(w, str(do()).encode())
        except BaseException as error:
            os.write(w, repr(error).encode())
        finally:
            os._exit(0)
    os.close(w)
    with open(r) as file:
        text = file.read()
    os.wait()
    return text
"""

UNSHARE: Final = (
    calls("unshare", "sethostname")
    + _FLAGS
    + """
import fcntl, socket
def user():
    call("unshare", NEWUSER)
    return os.getuid()
def uts():
    tried(lambda: call("unshare", NEWUSER | NEWUTS))
    call("sethostname", b"unshared", 8)
    return os.uname().nodename
def pid():
    tried(lambda: call("unshare", NEWUSER | NEWPID))
    return in_child(os.getpid)
def net():
    call("unshare", NEWUSER | NEWNET)
    with socket.socket() as control:
        request = struct.pack("16sHH4s8x", b"lo", socket.AF_INET, 0, socket.inet_aton("ADDRESS"))
        fcntl.ioctl(control, 0x8916, request)
        control.bind(("ADDRESS", 0))
        return control.getsockname()[0]
def handler(event):
    return {kind.__name__: in_child(kind) for kind in (user, uts, pid, net)}
""".replace("ADDRESS", _ADDRESS)
)

CLONE: Final = (
    calls("clone")
    + _FLAGS
    + """
import platform
CHILD = 17
def cloned(flags):
    r, w = os.pipe()
    try:
        if call("clone", flags | CHILD, 0, 0, 0, 0) == 0:
            os.write(w, str(os.getuid()).encode())
            os._exit(0)
    except OSError as error:
        return str(error)
    os.close(w)
    os.wait()
    return int(os.read(r, 20) or 0)
def handler(event):
    high = 1 << 40  # the kernel reads 32 bits
    return [cloned(NEWUSER | more) for more in (0, high, NEWPID, NEWNS, NEWPID | NEWNET | NEWIPC | NEWUTS)]
"""
)

CLONE3: Final = (
    calls("clone3")
    + _FLAGS
    + """
def handler(event):
    arguments = (ctypes.c_uint64 * 8)(NEWUSER, 0, 0, 0, 17, 0, 0, 0)
    r, w = os.pipe()
    if call("clone3", arguments, 64) == 0:
        os.write(w, str(os.getuid()).encode())
        os._exit(0)
    os.wait()
    return int(os.read(r, 20))
"""
)

SETNS: Final = (
    calls("setns", "pidfd_open", "unshare", "sethostname")
    + _FLAGS
    + """
def enter(pid):
    # the namespace that owns the others first
    tried(lambda: call("setns", call("pidfd_open", pid, 0), NEWUSER))
    tried(lambda: call("setns", call("pidfd_open", pid, 0), NEWNS))
    for kind in ("user", "mnt", "pid", "net", "ipc", "uts"):
        tried(lambda: call("setns", os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), 0))
def steal(pid, path):
    enter(pid)
    with open(path) as file:
        return file.read()
def own():
    # the same on a namespace that one of our own processes made
    r, w = os.pipe()
    until, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            call("unshare", NEWUSER | NEWUTS)
            call("sethostname", b"entered", 7)
        finally:
            os.write(w, b"x")
            os.read(until, 1)
    os.read(r, 1)
    tried(lambda: call("setns", call("pidfd_open", pid, 0), NEWUSER | NEWUTS))
    os.kill(pid, 9)
    return os.uname().nodename
def handler(event):
    found = [in_child(own)]
    for pid in (1, event["victim_pid"], event["executor_pid"], event["other_pid"], os.getppid()):
        for path in (event["canary_path"], "/tmp/secret.txt"):
            found.append(in_child(lambda: steal(pid, path)))
    return found
"""
)

_MOUNTS: Final = (
    calls(
        *("unshare", "mount", "umount2", "pivot_root", "chroot"),
        *("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount"),
    )
    + _FLAGS
    + """
BIND, REC, REMOUNT, DETACH = 0x1000, 0x4000, 0x20, 2
def enter():
    # with the capabilities that the process may have kept, else with those of a namespace of its own
    first(lambda: call("unshare", NEWNS), lambda: call("unshare", NEWUSER | NEWNS))
def mount(source, target, kind=None, flags=0, data=None):
    call("mount", source, target, kind, flags, data)
def read(path):
    # without open(), which may want a module from a /usr that is not there any more
    found = os.open(path, os.O_RDONLY)
    return os.read(found, 1000).decode()
def make():
    # a directory with a file in it, and an empty one
    os.makedirs("/workspace/.full"), os.makedirs("/workspace/.empty/old")
    with open("/workspace/.full/file", "w") as file:
        file.write("through" + "-a-mount")
    os.makedirs("/workspace/.full/old")
"""
)

MOUNT: Final = (
    _MOUNTS
    + """
def handler(event):
    make()
    enter()
    def bind(): mount(b"/workspace/.full", b"/workspace/.empty", None, BIND | REC)
    def overlay(): mount(b"o", b"/workspace/.empty", b"overlay", 0, b"lowerdir=/workspace/.full:/usr")
    first(bind, overlay)
    return read("/workspace/.empty/file")
"""
)

NEW_MOUNT_API: Final = (
    _MOUNTS
    + """
CLONE_TREE, EMPTY_PATH, CREATE, HERE = 1, 4, 6, -100
def handler(event):
    make()
    enter()
    def tree():
        found = call("open_tree", HERE, b"/workspace/.full", CLONE_TREE | 0x8000)
        call("move_mount", found, b"", HERE, b"/workspace/.empty", EMPTY_PATH)
    def overlay():
        made = call("fsopen", b"overlay", 0)
        call("fsconfig", made, 1, b"lowerdir", b"/workspace/.full:/usr", 0)
        call("fsconfig", made, CREATE, None, None, 0)
        call("move_mount", call("fsmount", made, 0, 0), b"", HERE, b"/workspace/.empty", EMPTY_PATH)
    first(tree, overlay)
    return read("/workspace/.empty/file")
"""
)

REMOUNT: Final = (
    _MOUNTS
    + """
def handler(event):
    enter()
    tried(
        lambda: mount(None, b"/", None, REMOUNT | BIND),
        lambda: mount(None, b"/", None, REMOUNT),
        lambda: mount(None, b"/dev", None, REMOUNT | BIND),
        lambda: mount(None, b"/usr", None, REMOUNT | BIND),
    )
    for path in ("/written", "/dev/written", "/usr/written"):
        def write():
            with open(path, "w") as file:
                file.write("on a read-only file system")
        tried(write)
    return [path for path in ("/", "/dev", "/usr") if "written" in os.listdir(path)]
"""
)

UMOUNT: Final = (
    _MOUNTS
    + """
def uncover():
    enter()
    tried(*(lambda path=path: call("umount2", path, DETACH) for path in (b"/dev/shm", b"/tmp", b"/proc", b"/usr")))
    return os.listdir("/dev/shm"), os.listdir("/tmp")
def handler(event):
    for directory in ("/dev/shm", "/tmp"):
        with open(f"{directory}/covered", "w"):
            pass
    return in_child(uncover)
"""
)

PIVOT_ROOT: Final = (
    _MOUNTS
    + """
def pivot():
    enter()
    mount(b"/workspace/.full", b"/workspace/.full", None, BIND)
    call("pivot_root", b"/workspace/.full", b"/workspace/.full/old")
    return read("/file")
def handler(event):
    make()
    return in_child(pivot)
"""
)

CHROOT: Final = (
    _MOUNTS
    + """
def change():
    tried(lambda: call("unshare", NEWUSER))
    outside = os.open("/", os.O_RDONLY)
    call("chroot", b"/workspace/.full")
    found = read("/file")
    os.fchdir(outside)  # out of it again, and up as far as it goes
    for _ in range(100):
        os.chdir("..")
    tried(lambda: call("chroot", b"."))
    for path in paths:
        try:
            found += read(path)
        except OSError:
            pass
    return found
def handler(event):
    global paths
    paths = event["canary_path"], event["other_workspace_path"] + "/secret.txt"
    make()
    return in_child(change)
"""
)

UNSHARE_PROGRAM: Final = (
    EVENT
    + """
fs.mkdirSync('.full'), fs.mkdirSync('.empty')
fs.writeFileSync('.full/file', 'THROUGH\\n')
const script = 'mount --bind .full .empty && cat .empty/file'
show('unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', script)
show('unshare', '-Urmpf', '--mount-proc', 'sh', '-c', script)
show('nsenter', '--user', '--mount', '--target', '1', 'cat', event.canary_path)
""".replace("THROUGH", _THROUGH)
)

UID_MAP: Final = (
    FACTS
    + """
unshare --user --map-root-user id -u
unshare --user sleep 8 &
sleep 2
for pid in $! self 1 "$(fact victim_pid)"; do
    echo deny > /proc/$pid/setgroups
    echo "0 1000 1" > /proc/$pid/uid_map
    echo "0 0 4294967295" > /proc/$pid/uid_map
    newuidmap $pid 0 0 65536
done
setpriv --reuid 0 id -u
wait
"""
)

NESTED_BWRAP: Final = (
    FACTS
    + """
bwrap --unshare-user --unshare-uts --hostname nested --bind / / --dev /dev uname -n
bwrap --unshare-all --hostname nested --ro-bind /usr /usr --symlink usr/lib64 /lib64 --proc /proc /usr/bin/uname -n
bwrap --bind / / cat "$(fact canary_path)"
"""
)

ATTEMPTS: Final = (
    Attempt(
        "namespaces/unshare",
        "python",
        UNSHARE,
        returned_any_of([str(_UNMAPPED_UID), "unshared", "1", _ADDRESS]),
        without=_NESTED,
    ),
    Attempt("namespaces/clone", "python", CLONE, returned_any_of([_UNMAPPED_UID]), without=_NESTED),
    Attempt("namespaces/clone3", "python", CLONE3, returned(_UNMAPPED_UID), without=_NESTED),
    Attempt(
        "namespaces/setns",
        "python",
        SETNS,
        lambda world, outcome: world.leaked(outcome) or "entered" in (outcome.result["return_value"] or ()),
        without=_NESTED,
    ),
    Attempt("namespaces/mount", "python", MOUNT, returned(_THROUGH), without=_NESTED),
    Attempt("namespaces/new-mount-api", "python", NEW_MOUNT_API, returned(_THROUGH), without=_NESTED),
    Attempt(
        "namespaces/remount-writable",
        "python",
        REMOUNT,
        returned_any_of(["/", "/dev", "/usr"]),
        without=_OWNER,
    ),
    Attempt("namespaces/uncover", "python", UMOUNT, returned("([], [])"), without=_OWNER),
    Attempt("namespaces/pivot-root", "python", PIVOT_ROOT, returned(_THROUGH), without=_NESTED),
    Attempt(
        "namespaces/chroot",
        "python",
        CHROOT,
        lambda world, outcome: _THROUGH in str(outcome.result["return_value"]) or world.leaked(outcome),
        without=_NESTED,
    ),
    # Without a /proc no map can be written, and without a map no program keeps what a namespace gives it.
    Attempt(
        "namespaces/unshare-program",
        "javascript",
        UNSHARE_PROGRAM,
        printed(_THROUGH),
        without=_NESTED,
        levels=("full",),
    ),
    Attempt("namespaces/uid-map", "shell", UID_MAP, printed("0"), without=_NESTED, levels=("full",)),
    Attempt("namespaces/nested-bwrap", "shell", NESTED_BWRAP, printed("nested"), without=_NESTED, levels=("full",)),
)
