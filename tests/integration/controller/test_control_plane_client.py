"""One call to a Control Plane over real HTTP: what goes out, and what each way of answering means."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from contracts.control_plane_api import CONTAINER_READY_PATH
from contracts.control_plane_retry import Outcome
from controller.clients.control_plane import Call, ControlPlaneClient
from controller.errors import NotLeader, SettingsError
from tests.fakes.control_plane import DISCONNECT, HANG, Answer, FakeControlPlane
from tests.integration.controller.apiserver import free_port

TOKEN = "a-token-of-the-control-plane"
BODY = b'{"container_id":"c","pod_name":"p","executor_port":8080,"ready_at":"2026-01-15T12:00:00Z"}'


@pytest.fixture
async def control_plane() -> AsyncIterator[FakeControlPlane]:
    async with FakeControlPlane(tokens={TOKEN}, prefix="/prefix/v1") as started:
        yield started


@pytest.fixture
async def client(control_plane: FakeControlPlane) -> AsyncIterator[ControlPlaneClient]:
    made = ControlPlaneClient(control_plane.url + "/", lambda: TOKEN)
    yield made
    await made.close()


def call(timeout_s: float = 60.0) -> Call:
    return Call(CONTAINER_READY_PATH, BODY, "the-key", timeout_s)


async def test_a_call_carries_token_key_and_body_below_the_prefix(
    control_plane: FakeControlPlane, client: ControlPlaneClient
) -> None:
    answer = await client.post(call())
    assert (answer.outcome, answer.status) == (Outcome.ACCEPTED, 200)
    [seen] = control_plane.calls
    assert (seen.kind, seen.path, seen.token) == ("ready", "/prefix/v1" + CONTAINER_READY_PATH, TOKEN)
    assert seen.headers["Idempotency-Key"] == "the-key"
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.body["container_id"] == "c"


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        (204, Outcome.ACCEPTED),
        (307, Outcome.UNAVAILABLE),
        (401, Outcome.UNAUTHORIZED),
        (403, Outcome.REFUSED),
        (404, Outcome.DROPPED),
        (409, Outcome.DROPPED),
        (422, Outcome.REFUSED),
        (429, Outcome.UNAVAILABLE),
        (500, Outcome.UNAVAILABLE),
        (DISCONNECT, Outcome.UNREACHABLE),
        (HANG, Outcome.UNREACHABLE),
    ],
)
async def test_what_an_answer_means(
    control_plane: FakeControlPlane, client: ControlPlaneClient, answers: Answer, outcome: Outcome
) -> None:
    control_plane.program("ready", answers)
    answer = await client.post(call(timeout_s=2.0 if answers is HANG else 60.0))
    assert answer.outcome is outcome
    assert TOKEN not in answer.detail
    assert len(control_plane.calls) == 1
    assert (await client.post(call())).outcome is Outcome.ACCEPTED, "the next call goes as if nothing had been"


async def test_nobody_there_is_no_answer() -> None:
    client = ControlPlaneClient(f"http://127.0.0.1:{free_port()}", lambda: TOKEN)
    answer = await client.post(call())
    await client.close()
    assert (answer.outcome, answer.status) == (Outcome.UNREACHABLE, 0)
    assert TOKEN not in answer.detail


async def test_the_token_is_read_for_each_call_and_one_that_is_no_token_is_not_sent(
    control_plane: FakeControlPlane,
) -> None:
    tokens = [TOKEN, "another", "two\r\nX-Forged: lines", ""]
    client = ControlPlaneClient(control_plane.url, lambda: tokens.pop(0))
    outcomes = [(await client.post(call())).outcome for _ in range(4)]
    await client.close()
    assert outcomes == [Outcome.ACCEPTED] + [Outcome.UNAUTHORIZED] * 3
    assert len(control_plane.calls) == 2


async def test_a_secret_that_cannot_be_read_now_is_an_attempt_in_vain(control_plane: FakeControlPlane) -> None:
    def read() -> str:
        raise SettingsError("cannot read the secret file token: FileNotFoundError")

    client = ControlPlaneClient(control_plane.url, read)
    answer = await client.post(call())
    await client.close()
    assert answer.outcome is Outcome.UNAUTHORIZED
    assert not answer.outcome.final


async def serve(answer: web.StreamResponse | None, tls: ssl.SSLContext | None = None) -> tuple[web.AppRunner, int]:
    """A server with one answer: None is one that never ends."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        if answer is not None:
            return answer
        endless = web.StreamResponse()
        await endless.prepare(request)
        while True:
            await endless.write(b"x" * 65_536)
            await asyncio.sleep(0)

    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner, runner.addresses[0][1]


async def test_an_answer_without_end_is_read_only_so_far() -> None:
    runner, port = await serve(None)
    client = ControlPlaneClient(f"http://127.0.0.1:{port}", lambda: TOKEN)
    answer = await client.post(call())
    assert answer.outcome is Outcome.ACCEPTED
    await client.close()
    await runner.cleanup()


async def test_a_large_body_arrives_whole(control_plane: FakeControlPlane, client: ControlPlaneClient) -> None:
    body = BODY[:-1] + b',"more":"' + b"x" * 5_000_000 + b'"}'
    answer = await client.post(Call(CONTAINER_READY_PATH, body, "k"))
    assert answer.outcome is Outcome.ACCEPTED
    assert len(control_plane.calls[0].body["more"]) == 5_000_000


async def test_a_certificate_counts_only_when_its_ca_is_trusted(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    extensions = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(subprocess.run, [*words, *extensions], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    runner, port = await serve(web.Response(status=204), tls)
    trusting = ControlPlaneClient(f"https://127.0.0.1:{port}", lambda: TOKEN, certificate)
    stranger = ControlPlaneClient(f"https://127.0.0.1:{port}", lambda: TOKEN)
    assert (await trusting.post(call())).outcome is Outcome.ACCEPTED
    assert (await stranger.post(call())).outcome is Outcome.UNREACHABLE
    for made in (trusting, stranger):
        await made.close()
    await runner.cleanup()
    with pytest.raises(SettingsError, match="CA bundle"):
        ControlPlaneClient("https://c", lambda: TOKEN, tmp_path / "none")


@pytest.mark.parametrize("refuses_at", [1, 2])
async def test_who_leads_no_longer_says_nothing_also_when_that_ends_while_it_connects(
    control_plane: FakeControlPlane, refuses_at: int
) -> None:
    asked = 0

    def fence() -> None:
        nonlocal asked
        asked += 1
        if asked == refuses_at:
            raise NotLeader("another replica leads")

    client = ControlPlaneClient(control_plane.url, lambda: TOKEN, fence=fence)
    try:
        with pytest.raises(NotLeader):
            await client.post(call())
        assert control_plane.calls == []
        assert (await client.post(call())).outcome is Outcome.ACCEPTED
        asked = 0  # now with a connection that is there already
        with pytest.raises(NotLeader):
            await client.post(call())
        assert len(control_plane.calls) == 1
    finally:
        await client.close()
