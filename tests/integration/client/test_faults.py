"""The client against an API server that breaks off, repeats, redirects and forgets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from sandbox_executor_client import AsyncClient, ExecutionSpec, Forbidden, NotConfigured, Unavailable, new_execution_id
from sandbox_executor_client.kube import load_configuration

SPEC = ExecutionSpec(language="python", code="def handler(event): return event")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BrokenServer:
    """One Execution, and a list of ways to answer; when it is empty, it answers as it should."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[str] = []
        self.stored: dict[str, Any] | None = None
        self.port = 0

    async def __aenter__(self) -> "BrokenServer":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method}{' watch' if 'watch' in request.query else ''}")
        if self.answers:
            return await self.answers.pop(0)(request)
        return await self.work(request)

    async def work(self, request: web.Request) -> web.StreamResponse:
        """As an API server does."""
        if request.method == "POST":
            if self.stored is not None:
                return web.json_response({"reason": "AlreadyExists", "message": "exists"}, status=409)
            body = await request.json()
            self.stored = {**body, "metadata": {**body["metadata"], "uid": "u1", "resourceVersion": "1"}}
            return web.json_response(self.stored, status=201)
        if "watch" in request.query:
            return await self.hold(request)
        if request.path.endswith("/executions"):
            items = [self.stored] if self.stored else []
            return web.json_response({"items": items, "metadata": {"resourceVersion": "5"}})
        return web.json_response(self.stored) if self.stored else web.json_response({"message": "no"}, status=404)

    async def hold(self, request: web.Request, *events: Any) -> web.StreamResponse:
        """A watch that sends events, and then stays open."""
        response = await self.stream(request, *events)
        await asyncio.sleep(30)
        return response

    async def stream(self, request: web.Request, *events: Any) -> web.StreamResponse:
        """A watch that sends events, and ends."""
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    def end(self, **more: Any) -> dict[str, Any]:
        assert self.stored is not None
        metadata = {**self.stored["metadata"], "resourceVersion": "9"}
        self.stored = {**self.stored, "metadata": metadata, "status": {"phase": "Succeeded", **more}}
        return self.stored


@pytest.fixture
async def server() -> AsyncIterator[BrokenServer]:
    async with BrokenServer() as running:
        yield running


@pytest.fixture
async def client(server: BrokenServer, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "of-the-context"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}],
                "users": [{"name": "u", "user": {"token": "token-of-the-caller"}}],
            }
        )
    )
    async with AsyncClient(kubeconfig=str(path)) as opened:
        yield opened


def fails(status: int) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "busy"}, status=status)

    return answer


async def test_the_namespace_is_the_contexts(client: AsyncClient) -> None:
    assert client.namespace == "of-the-context"


async def test_a_creation_whose_answer_was_lost_is_one_creation(client: AsyncClient, server: BrokenServer) -> None:
    async def do_and_break_off(request: web.Request) -> web.StreamResponse:
        await server.work(request)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.answers = [fails(503), do_and_break_off]
    created = await client.create(SPEC.model_copy(update={"execution_id": new_execution_id()}))
    assert created.uid == "u1"
    assert server.requests == ["POST", "POST", "POST", "GET"]


async def test_who_is_cancelled_while_it_creates_leaves_nothing_that_goes_on(
    client: AsyncClient, server: BrokenServer
) -> None:
    stored = asyncio.Event()

    async def create_and_hang(request: web.Request) -> web.StreamResponse:
        await server.work(request)
        stored.set()
        await asyncio.sleep(30)
        return web.Response()

    server.answers = [create_and_hang]
    running = asyncio.ensure_future(client.run("print(1)"))
    await stored.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert server.requests == ["POST", "PATCH"]


async def test_an_api_server_that_stays_away_is_an_error_in_the_end(
    client: AsyncClient, server: BrokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_executor_client.kube._BACKOFF_S", (0.01,) * 3)
    server.answers = [fails(429), fails(500), fails(502), fails(504)]
    with pytest.raises(Unavailable, match="busy"):
        await client.get("x")
    assert len(server.requests) == 4


async def test_a_refusal_of_an_api_server_that_is_starting_is_no_verdict(
    client: AsyncClient, server: BrokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses everybody until it has read who may do what, and is not ready before."""
    monkeypatch.setattr("sandbox_executor_client.kube._BACKOFF_S", (0.01,) * 3)
    await client.create(SPEC, name="x")
    refuses, not_ready, ready = fails(403), fails(403), fails(200)
    server.answers = [refuses, not_ready, refuses, ready, server.work]
    assert (await client.get("x")).uid == "u1"
    server.answers = [refuses, ready, refuses]
    with pytest.raises(Forbidden):
        await client.get("x")


async def test_a_redirect_is_not_followed_with_the_token(client: AsyncClient, server: BrokenServer) -> None:
    seen: list[str] = []

    async def redirect(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        return web.Response(status=307, headers={"Location": f"http://127.0.0.1:{server.port}/elsewhere"})

    server.answers = [redirect]
    with pytest.raises(Exception, match="307"):
        await client.get("x")
    assert (seen, server.requests) == (["Bearer token-of-the-caller"], ["GET"])


async def test_a_wait_outlives_every_way_in_which_a_watch_ends(
    client: AsyncClient, server: BrokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_executor_client.following._PAUSE_S", (0.01,) * 6)
    await client.create(SPEC, name="x")
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "6"}}}
    huge = {"type": "MODIFIED", "object": {**(server.stored or {}), "padding": "x" * 3_000_000}}

    async def garbage(request: web.Request) -> web.StreamResponse:
        response = await server.stream(request)
        await response.write(b"{not json\n")
        return response

    async def says(request: web.Request, *events: Any) -> web.StreamResponse:
        return await server.stream(request, *events)

    async def ends(request: web.Request) -> web.StreamResponse:
        return await server.stream(request, {"type": "MODIFIED", "object": server.end()})

    server.answers = [
        server.work,  # get
        server.work,  # list
        lambda request: says(request, bookmark, gone),
        server.work,  # list
        fails(410),
        server.work,
        fails(403),  # it is starting
        fails(403),
        server.work,
        garbage,
        server.work,
        lambda request: says(request, huge),  # ends without an error: watched on from there
        ends,
    ]
    ended = await client.wait("x", timeout_s=60)
    assert ended.succeeded
    assert server.answers == []


async def test_an_end_that_no_watch_told_is_found_in_the_list(client: AsyncClient, server: BrokenServer) -> None:
    await client.create(SPEC, name="x")

    async def end_silently(_request: web.Request) -> web.StreamResponse:
        server.end()
        return web.json_response({"message": "broken"}, status=500)

    server.answers = [server.work, server.work, end_silently]
    assert (await client.wait("x", timeout_s=60)).succeeded


async def test_without_a_cluster_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(NotConfigured, match="KUBECONFIG="):
        await load_configuration(None, None)
