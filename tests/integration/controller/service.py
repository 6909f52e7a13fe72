"""What kube-proxy does for the controller's Service: connections go where the EndpointSlice says, here by its port."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from controller import names
from tests.integration.controller.apiserver import ApiError, ApiServer
from tests.integration.controller.cluster import NAMESPACE, SERVICE

_LOOK_S = 0.05


@dataclass
class Service:
    """An async context manager; ``url`` stays the same whoever leads."""

    server: ApiServer
    port: int = 0
    target: int | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where executors report."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "Service":
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        self._keep(asyncio.create_task(self._follow()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self) -> None:
        path = names.endpoint_slice_path(NAMESPACE, SERVICE)
        while True:
            with contextlib.suppress(ApiError, OSError):
                found = await asyncio.to_thread(self.server.request, "GET", path)
                self.target = found["ports"][0]["port"]
            await asyncio.sleep(_LOOK_S)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            if self.target is None:
                return
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            with contextlib.closing(back):
                one, other = asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))
                self._keep(one)
                self._keep(other)
                await asyncio.wait({one, other}, return_when=asyncio.FIRST_COMPLETED)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
