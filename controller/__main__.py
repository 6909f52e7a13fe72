"""``python -m controller``: the process of the operator's pod."""

import asyncio
import sys

from controller.application import Application
from controller.clients.kube import load_configuration
from controller.errors import SettingsError
from controller.logs import configure_logs
from controller.settings import Settings, load_settings


async def _run(settings: Settings) -> None:
    await Application(settings, await load_configuration()).run()


def main() -> int:
    """Runs the controller; 2 with one line when a setting is wrong."""
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
