"""``python -m log_api``: the process of the log API's pods."""

import asyncio
import sys

from controller.clients.kube import load_configuration
from controller.errors import SettingsError
from controller.logs import configure_logs
from log_api.application import Application
from log_api.settings import Settings, load_settings


async def _run(settings: Settings) -> None:
    await Application(settings, await load_configuration()).run()


def main() -> int:
    """Runs the log API; 2 with one line when a setting is wrong."""
    try:
        settings = load_settings()
        configure_logs(settings.log_level)
        asyncio.run(_run(settings))
    except SettingsError as error:
        print(f"log_api: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
