"""``python -m controller``: the process of the operator's pod."""

import asyncio
import os
import sys
from typing import Final, NoReturn

from controller.application import Application
from controller.clients.kube import load_configuration
from controller.errors import SettingsError
from controller.logs import configure_logs, get_logger
from controller.settings import Settings, load_settings

LOST_THE_LEASE: Final = 3
_DEEPEST_JSON: Final = 10_000
"""Levels of JSON that an API server takes, and so any tenant may store (Go's encoding/json)."""
logger = get_logger(__name__)


async def _run(settings: Settings) -> None:
    await Application(settings, await load_configuration(), _abandon).run()


def _abandon(reason: str) -> NoReturn:
    """Ends the process where it stands: another replica may lead already, and any clean-up might write."""
    logger.error("leads no longer; this process ends at once and is started anew", reason=reason)
    os._exit(LOST_THE_LEASE)


def main() -> int:
    """Runs the controller; 2 with one line when a setting is wrong, ``LOST_THE_LEASE`` when that happens."""
    # By default Python's reader ends at a thousand levels: one such object would be the end of every list and watch of
    # its kind, in all namespaces. Ten thousand need less than 2 MiB of stack; our models refuse them after that.
    sys.setrecursionlimit(4 * _DEEPEST_JSON)
    try:
        settings = load_settings()
        configure_logs(settings.log_level)
        asyncio.run(_run(settings))
    except SettingsError as error:
        print(f"controller: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
