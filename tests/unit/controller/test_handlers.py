"""Which events count: none before this process leads, and those that come while it lists, afterwards."""

import asyncio

from controller.handlers import Gate


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_standby_lets_nothing_through_and_holds_nothing_up() -> None:
    assert not await asyncio.wait_for(Gate().passes(), 60)


async def test_what_comes_while_the_lists_are_read_waits_for_them() -> None:
    gate = Gate()
    gate.lead()
    passing = asyncio.ensure_future(gate.passes())
    await settle()
    assert not passing.done()
    gate.open()
    assert await passing
    assert await gate.passes()


async def test_what_waited_is_dropped_when_the_process_ends_before_it_has_listed() -> None:
    gate = Gate()
    gate.lead()
    passing = asyncio.ensure_future(gate.passes())
    await settle()
    gate.close()
    assert not await passing
