"""Says why process 1 cannot be forked where this runs, as uid 1000; an empty line: it can."""

import asyncio

from executor_runtime.sandbox.forks import Forks
from executor_runtime.sandbox.probe import probe_levels


async def _try() -> str:
    forks = Forks(await probe_levels(("full", "reduced")))
    try:
        await forks.start()
        return forks.shortfall
    finally:
        forks.close()


def main() -> None:
    """Prints it."""
    print(asyncio.run(_try()))
