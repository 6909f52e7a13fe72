"""Old outputs go, and those of Executions that are gone."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller import names, output_retention
from controller.errors import StoreError
from controller.object_store import ObjectStore, Place
from controller.output_retention import OutputRetention
from controller.removal import Removal
from tests.unit.controller.builders import NOW, make_execution

DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(Place(f"file://{tmp_path}", "prefix"))


async def put(store: ObjectStore, key: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    await store.write(key, pieces())


async def keys(store: ObjectStore) -> list[str]:
    return sorted([found.key async for page in store.list() for found in page])


def make_old(tmp_path: Path, key: str, age: timedelta) -> None:
    then = (datetime.now(UTC) - age).timestamp()
    os.utime(tmp_path / "prefix" / key, (then, then))


async def test_what_is_older_than_it_may_become_goes_named_or_not(store: ObjectStore, tmp_path: Path) -> None:
    for key in ("a/u1/1/old", "a/u1/1/young", "b/u2/1/old"):
        await put(store, key)
    outside = tmp_path / "elsewhere"
    outside.write_text("not ours")
    make_old(tmp_path, "a/u1/1/old", 8 * DAY)
    make_old(tmp_path, "a/u1/1/young", 6 * DAY)
    make_old(tmp_path, "b/u2/1/old", 8 * DAY)
    os.utime(outside, (0, 0))
    await OutputRetention(store, 7, lambda: datetime.now(UTC)).sweep()
    assert await keys(store) == ["a/u1/1/young"]
    assert outside.exists()


async def test_outputs_go_with_their_execution_and_no_others(store: ObjectStore) -> None:
    for key in ("tenant/uid-one/1/x", "tenant/uid-one/2/y", "tenant/uid-one-more/1/x", "other/uid-one/1/x"):
        await put(store, key)
    retention = OutputRetention(store, 0, lambda: NOW)
    retention.forget(names.output_prefix("tenant", "uid-one"))
    await retention.delete_forgotten()
    assert await keys(store) == ["other/uid-one/1/x", "tenant/uid-one-more/1/x"]


class Kube:
    """Deletes everything."""

    async def delete(self, path: str, uid: str) -> None:
        return


async def test_removal_tells_of_those_that_had_outputs() -> None:
    told: list[str] = []
    removal = Removal(Kube(), {}, lambda: NOW)  # type: ignore[arg-type]
    removal.forget_outputs = told.append
    output = {"name": "stdout", "size": 1, "sha256": "0" * 64, "uri": "s3://b/k"}
    ended = {"phase": "Succeeded", "completionTime": "2026-01-15T12:00:00Z"}
    removal.note(make_execution("with", {**ended, "outputs": [output]}, ttlSecondsAfterFinished=0))
    removal.note(make_execution("without", ended, ttlSecondsAfterFinished=0))
    await removal.delete_due()
    assert told == ["tenant/uid-with/"]


async def test_a_store_that_is_down_is_tried_again(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, "tenant/uid-one/1/x")
    monkeypatch.setattr(output_retention, "_CHECK_S", 0.01)
    retention = OutputRetention(store, 0, lambda: NOW)
    retention.forget("tenant/uid-one/")
    delete, failures = store.delete, [1, 2, 3]

    async def fails(wanted: list[str]) -> None:
        if failures:
            failures.pop()
            raise StoreError("down")
        await delete(wanted)

    monkeypatch.setattr(store, "delete", fails)
    running = asyncio.create_task(retention.run())
    while await keys(store):
        await asyncio.wait([running], timeout=0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert failures == []
