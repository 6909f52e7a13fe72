"""Nothing is written by a process that does not lead."""

from collections.abc import AsyncIterator

import pytest
from kubernetes.aio.client import Configuration

from controller.clients.kube import KubeClient
from controller.errors import KubeUnavailable, NotLeader


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
