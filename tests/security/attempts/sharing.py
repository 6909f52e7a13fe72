"""What processes share without being related: System V and POSIX objects, keyrings, memory file systems, names."""

from tests.security.attempts.keyring import DESCRIPTION
from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import EVENT, FACTS, calls, leaked
from tests.security.attempts.world import World


def _objects_changed(world: World, _outcome: Outcome) -> bool:
    return world.objects_changed()


def _segment_stayed(world: World, _outcome: Outcome) -> bool:
    return world.segment_stayed()


def _shows_key(world: World, outcome: Outcome) -> bool:
    return str(world.facts()["shm_key"]) in outcome.result["stdout"].split()


SYSTEM_V = (
    Attempt(
        "sharing/segment-by-key",
        "python",
        """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
def handler(event):
    found = libc.shmget(event["shm_key"], 0, 0)
    # Not found, it would be -1, and so would its address.
    return ctypes.string_at(libc.shmat(found, None, 0o10000)).decode() if found >= 0 else "none"
""",
        leaked("shm"),
        without=("ipc",),
    ),
    Attempt(
        "sharing/segment-by-id",
        "python",
        """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
def handler(event):
    for number in (event["shm_id"], *range(64)):
        address = libc.shmat(number, None, 0)
        if address != ctypes.c_void_p(-1).value:
            ctypes.memmove(address, b"overwritten", 11)
""",
        _objects_changed,
        without=("ipc",),
    ),
    Attempt(
        "sharing/segment-that-stays",
        "python",
        """
import ctypes
def handler(event):
    return ctypes.CDLL(None).shmget(event["unused_key"], 1 << 20, 0o1666)
""",
        _segment_stayed,
        without=("ipc", "seccomp"),
    ),
    Attempt(
        "sharing/semaphore-removed",
        "shell",
        FACTS + 'ipcrm -s "$(fact sem_id)"; ipcrm -S "$(fact shm_key)"',
        _objects_changed,
        without=("ipc",),
    ),
    Attempt(
        "sharing/message-taken",
        "python",
        """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def handler(event):
    message = ctypes.create_string_buffer(264)
    for number in {event["msg_id"], libc.msgget(event["shm_key"], 0)}:
        if libc.msgrcv(number, message, 256, 0, 0o4000) > 0:
            return message.raw[8:].rstrip(b"\\0").decode()
""",
        leaked("msg"),
        without=("ipc",),
    ),
    Attempt(
        "sharing/list-of-segments",
        "shell",
        "cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg; ipcs -a",
        _shows_key,
        without=("ipc",),
    ),
)

POSIX = (
    Attempt(
        "sharing/posix-shared-memory",
        "javascript",
        EVENT
        + """
for (const name of [event.posix_shm, ...fs.readdirSync('/dev/shm')]) {
  try { console.log(fs.readFileSync(`/dev/shm/${name}`, 'latin1')) } catch (error) { console.log(error.code) }
}
""",
        leaked("posix_shm"),
        without=("mount",),
    ),
    Attempt(
        "sharing/posix-message-queue",
        "python",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def handler(event):
    queue = libc.mq_open(event["posix_mq"].encode(), os.O_RDWR | os.O_NONBLOCK)
    message = ctypes.create_string_buffer(8192)
    if queue >= 0 and libc.mq_receive(queue, message, 8192, None) > 0:
        return message.value.decode()
""",
        leaked("posix_mq"),
        without=("ipc",),
    ),
    Attempt(
        "sharing/neighbours-memory-file-systems",
        "shell",
        "cat /dev/shm/secret.txt /tmp/secret.txt; ls -la /dev/shm /tmp",
        leaked("other_workspace"),
        without=("mount",),
    ),
)

NAMES = (
    Attempt(
        "sharing/neighbours-abstract-socket",
        "python",
        """
import socket
def handler(event):
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect("\\0other-execution")
        return caller.recv(1000).decode()
""",
        leaked("other_memory"),
        without=("net",),
    ),
    Attempt(
        "sharing/neighbours-address-taken",
        "javascript",
        EVENT
        + """
const server = require('net').createServer(caller => {
  caller.on('data', data => { console.log(String(data)); server.close(); caller.destroy() })
})
server.on('error', error => console.log(error.code))
server.listen({ port: event.knocked_port, host: '127.0.0.1', exclusive: true })
setTimeout(() => process.exit(), 1000 * event.patience_s)
""",
        leaked("knock"),
        without=("net",),
    ),
    Attempt(
        "sharing/session-keyring",
        "python",
        calls("keyctl")
        + f"""
SEARCH, READ, SESSION = 10, 11, -3
def handler(event):
    key = call("keyctl", SEARCH, SESSION, b"user", b"{DESCRIPTION}", 0)
    content = ctypes.create_string_buffer(1000)
    call("keyctl", READ, key, content, 1000, 0)
    return content.value.decode()
""",
        leaked("session_key"),
        without=("seccomp",),
    ),
)

ATTEMPTS = SYSTEM_V + POSIX + NAMES
