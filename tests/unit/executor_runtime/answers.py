"""A Control Plane that is a function."""

import inspect
from collections.abc import Awaitable, Callable, Mapping

import httpx

from executor_runtime.control_plane import Send


def make_answer(status: int) -> httpx.Response:
    """An answer with a short body."""
    return httpx.Response(status, content=b'{"status": "noted"}')


def sending_to(answer: Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]) -> Send:
    """What sends a Control Plane's calls to a function."""

    async def send(url: str, body: bytes, headers: Mapping[str, str]) -> int:
        answered = answer(httpx.Request("POST", url, content=body, headers=dict(headers)))
        response = await answered if inspect.isawaitable(answered) else answered
        assert isinstance(response, httpx.Response)
        return response.status_code

    return send
