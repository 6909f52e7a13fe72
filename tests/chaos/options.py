"""The command line that both worlds share."""

import argparse
import asyncio
import signal
import time
from collections.abc import Coroutine
from typing import Any

from tests.chaos.report import Report
from tests.chaos.run import Plan


def add_options(parser: argparse.ArgumentParser, per_second: float) -> None:
    """``per_second``: how many Executions this world can take."""
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10)
    length.add_argument("--once", action="store_true", help="every fault one time, two beside each other")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--per-second", type=float, default=per_second, help="Executions that are created")
    parser.add_argument("--only", nargs="*", default=(), help="names of faults")


def make_plan(options: argparse.Namespace) -> Plan:
    """What they ask for."""
    seconds = None if options.once else options.minutes * 60
    return Plan(seconds, options.seed, options.per_second, tuple(options.only))


def see_through(running: Coroutine[Any, Any, Report]) -> Report:
    """Runs it; a SIGTERM too takes down what it has put up."""

    async def go() -> Report:
        task = asyncio.ensure_future(running)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    return asyncio.run(go())
