"""Garbage is collected while nobody waits, and what lives for ever is not looked at."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from executor_runtime import garbage


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(garbage, "_INTERVAL_S", 0)
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def make_garbage() -> weakref.ref[Cycle]:
    cycle = Cycle()
    kept: list[list[int]] = [[] for _ in range(garbage._WORTH + 1)]
    cycle.kept = kept  # type: ignore[attr-defined]
    return weakref.ref(cycle)


def test_what_is_there_is_spared_and_what_comes_is_waited_for() -> None:
    garbage.spare_what_is_there()
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold()[0] > 10_000
    assert gc.isenabled()


async def collected(left: weakref.ref[Cycle], is_busy: bool) -> bool:
    collecting = asyncio.create_task(garbage.collect_in_pauses(lambda: is_busy))
    for _ in range(10):
        await asyncio.sleep(0)
    collecting.cancel()
    return left() is None


async def test_garbage_is_collected_in_pauses_only() -> None:
    garbage.spare_what_is_there()
    left = make_garbage()
    assert not await collected(left, is_busy=True)
    assert await collected(left, is_busy=False)


async def test_what_has_become_old_is_collected_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "_ALL_EVERY", 3)
    garbage.spare_what_is_there()
    cycle = Cycle()
    left = weakref.ref(cycle)
    gc.collect()
    del cycle
    gc.collect(1)
    assert left() is not None
    assert await collected(left, is_busy=False)
