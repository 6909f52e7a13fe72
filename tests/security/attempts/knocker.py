"""Someone on the host who trusts an address, and knocks there during attempts: an attacker may have moved in."""

import asyncio
import contextlib
import secrets
import socket
from typing import Final, Self

_PAUSE_S: Final = 0.03


class Knocker:
    """Connects to a TCP port and to an abstract socket where nobody of the test listens, and says a secret there."""

    def __init__(self, secret: str) -> None:
        self.answered = False
        """Whether a connection was taken."""
        self._secret = secret
        self._name = f"knocked-at-{secrets.token_hex(8)}"
        with socket.create_server(("127.0.0.1", 0)) as chosen:
            self._port = int(chosen.getsockname()[1])
        self._task: asyncio.Task[None] | None = None

    def facts(self) -> dict[str, object]:
        """Where it knocks."""
        return {"knocked_port": self._port, "knocked_abstract_socket": self._name}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._knock_forever())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _knock_forever(self) -> None:
        while True:
            self._knock(socket.AF_INET, ("127.0.0.1", self._port))
            self._knock(socket.AF_UNIX, f"\0{self._name}")
            await asyncio.sleep(_PAUSE_S)

    def _knock(self, family: int, address: tuple[str, int] | str) -> None:
        """Both are on this machine: who listens is connected to at once, and who does not refuses at once."""
        with contextlib.suppress(OSError), socket.socket(family) as caller:
            caller.settimeout(1.0)
            caller.connect(address)
            self.answered = True
            caller.sendall(self._secret.encode())
