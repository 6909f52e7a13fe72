"""``python -m tests.integration.controller.drowsy``: only the calls to the Control Plane tell it the time.

In the real one the renewal's timer is due at once when it was stopped, or another call's fence is asked first, and the
process has mostly ended before anything is said. Here nothing but the fence before those calls is left.
"""

import asyncio
import sys

from controller import application, leadership
from controller.__main__ import main
from controller.clients.executor import ExecutorClient
from controller.clients.kube import KubeClient

_NAP_S = 1.0
_LONG_S = leadership.LeaseTimes().deadline
"""Then its Lease is over in any case: one that was merely slow goes on."""
_SLEEPS_ON_S = 5.0


async def keep(self: leadership.Leadership) -> None:
    """As the real one, but after a long stop it sleeps on."""
    while True:
        begun = leadership.read_monotonic()
        await asyncio.sleep(_NAP_S)
        if leadership.read_monotonic() - begun > _LONG_S:
            await asyncio.sleep(_SLEEPS_ON_S)
        self.check()
        await self._renew()


if __name__ == "__main__":
    leadership.Leadership.keep = keep  # type: ignore[method-assign]
    # Writes to the API server and calls to executors have fences at the other end, too.
    unfenced = {
        "KubeClient": lambda configuration, _fence=None: KubeClient(configuration),
        "ExecutorClient": lambda token, previous, _epoch: ExecutorClient(token, previous),
    }
    vars(application).update(unfenced)
    sys.exit(main())
