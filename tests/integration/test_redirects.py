"""No HTTP client of ours follows a redirect: a token goes to whom it was meant for, also when that one is captured."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration
from pydantic import SecretStr

from contracts.control_plane_retry import Outcome
from contracts.executor_api import ExecutionRequest
from controller.clients.control_plane import Call as RelayedCall
from controller.clients.control_plane import ControlPlaneClient
from controller.clients.executor import ExecutorClient
from controller.clients.kube import KubeClient
from controller.clients.redirects import Redirected
from controller.errors import ExecutorUnreachable, KubeUnavailable
from controller.watches import open_session
from executor_runtime.control_plane import Call, ControlPlane
from executor_runtime.secret import Redactor, Token

TOKEN = "the-token-that-must-not-travel"
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass
class Stranger:
    """A server that redirects everything but what lies below ``/elsewhere``, where it notes who comes."""

    url: str = ""
    redirected: list[str] = field(default_factory=list)
    caught: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        shown = request.headers.get("Authorization", "")
        if request.path.startswith("/elsewhere"):
            self.caught.append(shown)
            return web.json_response({"metadata": {"resourceVersion": "1"}})
        self.redirected.append(shown)
        # The same host: there a client that follows keeps its headers.
        return web.Response(status=int(request.match_info["status"]), headers={"Location": f"{self.url}/elsewhere"})


@pytest.fixture
async def stranger() -> AsyncIterator[Stranger]:
    found = Stranger()
    app = web.Application()
    app.router.add_route("*", "/elsewhere{rest:.*}", found.answer)
    app.router.add_route("*", "/{status}/{rest:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def _configuration(url: str) -> Configuration:
    configuration = Configuration()
    configuration.host = url
    configuration.api_key = {"BearerToken": TOKEN}
    configuration.api_key_prefix = {"BearerToken": "Bearer"}
    return configuration


async def _dispatch(url: str) -> None:
    client = ExecutorClient(lambda: TOKEN)
    request = ExecutionRequest(
        code="1", language="shell", execution_id="exec_20260115_a1b2c3d4", report_token=SecretStr("r")
    )
    try:
        with pytest.raises(ExecutorUnreachable):
            await client.execute(url, request, 1)
    finally:
        await client.close()


async def _ask_executor(url: str) -> None:
    client = ExecutorClient(lambda: TOKEN)
    try:
        with pytest.raises(ExecutorUnreachable):
            await client.ask(url, "exec_20260115_a1b2c3d4")
    finally:
        await client.close()


async def _call_api_server(url: str, call: Callable[[KubeClient], Awaitable[Any]]) -> None:
    client = KubeClient(_configuration(url))
    try:
        with pytest.raises(KubeUnavailable):
            await call(client)
    finally:
        await client.close()


async def _read_api_server(url: str) -> None:
    await _call_api_server(url, lambda client: client.get("/api/v1/namespaces/a/secrets/b"))


async def _write_api_server(url: str) -> None:
    await _call_api_server(url, lambda client: client.replace_status("/apis/x", {"status": {}}))


async def _watch(url: str) -> None:
    session = (await open_session(_configuration(url))).aiohttp_session
    async with session:
        with pytest.raises(Redirected):
            await session.get(f"{url}/apis?watch=true")


async def _report(url: str) -> None:
    control_plane = ControlPlane(url, Token(TOKEN, None, Redactor()))
    try:
        answer = await control_plane.post(Call("/internal/containers/ready", b"{}"))
    finally:
        await control_plane.aclose()
    assert answer.outcome is Outcome.UNAVAILABLE


async def _relay(url: str) -> None:
    client = ControlPlaneClient(url, lambda: TOKEN)
    try:
        answer = await client.post(RelayedCall("/internal/containers/ready", b"{}"))
    finally:
        await client.close()
    assert answer.outcome is Outcome.UNAVAILABLE


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize(
    "call",
    [_dispatch, _ask_executor, _read_api_server, _write_api_server, _watch, _report, _relay],
    ids=lambda f: f.__name__,
)
async def test_a_redirect_is_not_followed(
    call: Callable[[str], Awaitable[None]], status: int, stranger: Stranger
) -> None:
    await call(f"{stranger.url}/{status}")
    assert stranger.redirected == [f"Bearer {TOKEN}"], "it was asked once, by somebody who has the token"
    assert stranger.caught == []


async def test_a_client_that_follows_would_have_shown_the_token(stranger: Stranger) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        await session.get(f"{stranger.url}/307/x")
    assert stranger.caught == [f"Bearer {TOKEN}"]
