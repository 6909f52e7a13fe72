"""Nothing is written by a process that does not lead, and not everything at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from kubernetes.aio.client import Configuration

from controller.clients.kube import REQUESTS_AT_A_TIME, KubeClient
from controller.errors import KubeError, KubeUnavailable, NotLeader


def refuse() -> None:
    raise NotLeader("this replica does not lead")


@pytest.fixture
async def client() -> AsyncIterator[KubeClient]:
    """One whose server nobody runs."""
    configuration = Configuration()
    configuration.host = "http://127.0.0.1:1"
    made = KubeClient(configuration, refuse)
    yield made
    await made.close()


async def test_every_kind_of_write_stops_at_the_fence(client: KubeClient) -> None:
    for write in (
        client.replace_status("/a", {}),
        client.merge_status("/a", {}, "1"),
        client.replace("/a", {}),
        client.apply("/a", {}),
        client.create("/a", {}),
        client.delete("/a", "uid"),
    ):
        with pytest.raises(NotLeader):
            await write
    await client.wait_quiet()


async def test_reads_do_not(client: KubeClient) -> None:
    with pytest.raises(KubeUnavailable):
        await client.get("/a")


class Server:
    """Stands for the official client's transport: gives these answers, and notes what was asked."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[str] = []

    async def request(self, method: str, url: str, **_options: object) -> "Server":
        self.asked.append(f"{method} {url.removeprefix('http://127.0.0.1:1')}")
        self.status = self.statuses.pop(0)
        return self

    async def read(self) -> bytes:
        return b"{}"

    async def close(self) -> None:
        return


async def test_a_refusal_of_a_server_that_is_starting_is_no_verdict(
    client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses everybody until it has read who may do what, and is not ready before."""
    server = Server(403, 403)
    monkeypatch.setattr(client._api, "rest_client", server)
    with pytest.raises(KubeUnavailable):
        await client.get("/secret")
    assert server.asked == ["GET /secret", "GET /readyz"]


async def test_a_refusal_from_before_it_was_ready_is_asked_for_again(
    client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client._api, "rest_client", Server(403, 200, 200))
    assert await client.get("/secret") == {}


async def test_a_server_that_is_ready_means_its_refusal(client: KubeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client._api, "rest_client", Server(403, 200, 403))
    with pytest.raises(KubeError) as refused:
        await client.get("/secret")
    assert (type(refused.value), refused.value.status) == (KubeError, 403)


class SlowServer(Server):
    """Counts what is under way, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = self.most = self.answered = 0
        self.go_on = asyncio.Event()

    async def request(self, method: str, url: str, **_options: object) -> Server:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.go_on.wait()
        self.under_way -= 1
        self.answered += 1
        return Answer()


class Answer(Server):
    """A success."""

    status = 200


async def test_a_crowd_of_requests_waits_for_its_turn_and_passes_the_fence_only_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise a write might be sent as long after the look at the Lease as the others before it take."""
    configuration = Configuration()
    configuration.host = "http://127.0.0.1:1"
    passed = 0

    def fence() -> None:
        nonlocal passed
        passed += 1

    client, server = KubeClient(configuration, fence), SlowServer()
    monkeypatch.setattr(client._api, "rest_client", server)
    crowd = [asyncio.create_task(client.create("/a", {})) for _ in range(1000)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert (server.most, passed) == (REQUESTS_AT_A_TIME, REQUESTS_AT_A_TIME)
    server.go_on.set()
    await asyncio.gather(*crowd)
    assert (server.answered, server.most, passed) == (1000, REQUESTS_AT_A_TIME, 1000)
    await client.close()


class Watched:
    """A watch's answer: the response that the official client wraps, with a body in pieces."""

    def __init__(self, *pieces: bytes, status: int = 200) -> None:
        self.status, self.pieces, self.closed = status, pieces, False
        self.response = self.content = self
        self.asked = ""

    async def request(self, _method: str, url: str, **_options: object) -> "Watched":
        self.asked = url
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    async def read(self) -> bytes:
        return b"".join(self.pieces)

    def close(self) -> None:
        self.closed = True


async def _watch(client: KubeClient) -> list[str]:
    return [event["object"]["name"] async for event in client.watch("/a", "7", 5, fieldSelector="metadata.name=x")]


async def test_a_watch_gives_events_however_they_are_cut(client: KubeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b'{"type":"MODIFIED","object":{"name":"a"}}\n\n{"type":"BOOKMARK","object":{}}\n'
    lines += b'{"type":"DELETED","object":{"name":"b"}}\n{"type":"MODI'
    watched = Watched(lines[:30], lines[30:95], lines[95:])
    monkeypatch.setattr(client._api, "rest_client", watched)
    assert await _watch(client) == ["a", "b"]
    assert watched.closed
    assert watched.asked.endswith("/a?fieldSelector=metadata.name%3Dx&watch=true&resourceVersion=7&timeoutSeconds=5")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Watched(b'{"reason":"Forbidden","message":"no"}', status=403), 403),
        (Watched(b'{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}\n'), 410),
        (Watched(b"no JSON\n"), 0),
    ],
)
async def test_a_watch_that_is_refused_or_breaks_is_an_error(
    client: KubeClient, monkeypatch: pytest.MonkeyPatch, answer: Watched, status: int
) -> None:
    monkeypatch.setattr(client._api, "rest_client", answer)
    with pytest.raises(KubeError) as refused:
        await _watch(client)
    assert (refused.value.status, answer.closed) == (status, True)
