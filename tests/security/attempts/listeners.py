"""Sockets of the test that nothing in a sandbox may reach.

They only listen. The kernel keeps every connection and datagram until it is asked for, so no thread or
loop has to run, and nothing that arrives can be missed. The addresses of a cloud's metadata service, of a cluster's API
server and of its DNS are the test's own, in the network namespace of the stage.
"""

import contextlib
import fcntl
import os
import secrets
import socket
import struct
from pathlib import Path
from typing import Final

METADATA_ADDRESS: Final = "169.254.169.254"
API_SERVER_ADDRESS: Final = "10.96.0.1"
DNS_ADDRESS: Final = "10.96.0.10"
_SIOCSIFADDR: Final = 0x8916
_READ_BYTES: Final = 65_536
_MAX_DESCRIPTORS: Final = 16


def add_addresses() -> None:
    """Gives the loopback interface the addresses above (netdevice(7)); needs CAP_NET_ADMIN in the namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for number, address in enumerate((METADATA_ADDRESS, API_SERVER_ADDRESS, DNS_ADDRESS)):
            name, family = f"lo:{number}".encode(), int(socket.AF_INET)
            request = struct.pack("16sHH4s8x", name, family, 0, socket.inet_aton(address))
            fcntl.ioctl(control, _SIOCSIFADDR, request)


class Listeners:
    """All of them; a name each."""

    def __init__(self, place: Path) -> None:
        """Ports below 1024 need CAP_NET_BIND_SERVICE. ``place`` gets a socket file, the directory of workspaces too."""
        self.workspaces = place / "executor" / "workspaces"
        """Where the executor's workspaces will be."""
        self.workspaces.mkdir(parents=True)
        self._abstract = f"attempts-{secrets.token_hex(8)}"
        self._paths = {"path": place / "listener.sock", "workspaces_path": self.workspaces / "listener.sock"}
        stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
        self._listening = {
            "tcp": _listen(socket.AF_INET, stream, ("127.0.0.1", 0)),
            "tcp6": _listen(socket.AF_INET6, stream, ("::1", 0)),
            "udp": _listen(socket.AF_INET, datagram, ("127.0.0.1", 0)),
            "udp6": _listen(socket.AF_INET6, datagram, ("::1", 0)),
            "metadata": _listen(socket.AF_INET, stream, (METADATA_ADDRESS, 80)),
            "api_server": _listen(socket.AF_INET, stream, (API_SERVER_ADDRESS, 443)),
            "dns": _listen(socket.AF_INET, datagram, (DNS_ADDRESS, 53)),
            "resolver": _listen(socket.AF_INET, datagram, ("127.0.0.1", 53)),
            "abstract": _listen(socket.AF_UNIX, stream, f"\0{self._abstract}"),
            "abstract_datagram": _listen(socket.AF_UNIX, datagram, f"\0{self._abstract}-datagram"),
            **{name: _listen(socket.AF_UNIX, stream, str(path)) for name, path in self._paths.items()},
        }
        self._accepted: list[socket.socket] = []
        self._seen: set[str] = set()
        self.received = b""
        """All bytes that came."""
        self.descriptors = 0
        """How many descriptors came with them (unix(7), SCM_RIGHTS)."""

    @property
    def paths(self) -> list[Path]:
        """Of their socket files."""
        return list(self._paths.values())

    def facts(self) -> dict[str, object]:
        """Where they listen."""
        ports = {f"{name}_port": self._port(name) for name in ("tcp", "tcp6", "udp", "udp6")}
        return {
            **ports,
            "metadata_address": METADATA_ADDRESS,
            "api_server_address": API_SERVER_ADDRESS,
            "dns_address": DNS_ADDRESS,
            "abstract_socket": self._abstract,
            "abstract_datagram_socket": f"{self._abstract}-datagram",
            "socket_path": str(self._paths["path"]),
            "workspaces_socket_path": str(self._paths["workspaces_path"]),
        }

    def reached(self, *names: str) -> bool:
        """Whether anything came to one of these, or to any, since ``reset``."""
        for name, listener in self._listening.items():
            self._take(name, listener)
        self._read_accepted()
        return bool(self._seen.intersection(names) if names else self._seen)

    def reset(self) -> None:
        """Forgets what came."""
        self.reached()
        for connection in self._accepted:
            connection.close()
        self._accepted.clear()
        self._seen.clear()
        self.received = b""
        self.descriptors = 0

    def close(self) -> None:
        """Removes the socket files too."""
        self.reset()
        for listener in self._listening.values():
            listener.close()
        for path in self._paths.values():
            path.unlink(missing_ok=True)

    def _port(self, name: str) -> int:
        return int(self._listening[name].getsockname()[1])

    def _take(self, name: str, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                if listener.type == socket.SOCK_STREAM:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    self._accepted.append(connection)
                else:
                    self._receive(listener)
                self._seen.add(name)

    def _read_accepted(self) -> None:
        for connection in self._accepted:
            with contextlib.suppress(OSError):
                self._receive(connection)

    def _receive(self, source: socket.socket) -> None:
        body, descriptors, _, _ = socket.recv_fds(source, _READ_BYTES, _MAX_DESCRIPTORS)
        self.received += body
        self.descriptors += len(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _listen(family: int, kind: int, address: tuple[str, int] | str) -> socket.socket:
    listener = socket.socket(family, kind)
    listener.setblocking(False)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(address)
    if kind == socket.SOCK_STREAM:
        listener.listen(128)
    return listener
