"""``python -m mock_control_plane``: listens, prints a line for each call, ends on SIGTERM and Ctrl-C."""

import asyncio
import contextlib
import socket
import sys

import uvicorn

from mock_control_plane.api import MockControlPlane
from mock_control_plane.errors import StartError
from mock_control_plane.settings import Settings, load_settings

_CLOSE_TIMEOUT_S = 1


def main() -> int:
    """The exit code."""
    try:
        settings = load_settings()
        listening = _listen(settings)
    except StartError as error:
        print(f"mock_control_plane: {error}", file=sys.stderr)
        return 1
    with listening:
        print(f"the Control Plane listens on port {listening.getsockname()[1]}", flush=True)
        config = uvicorn.Config(
            MockControlPlane(settings.token).build(),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
        )
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C, which uvicorn raises again once it has closed
            asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))
    return 0


def _listen(settings: Settings) -> socket.socket:
    try:
        return socket.create_server((settings.host, settings.port), backlog=128)
    except OSError as error:
        raise StartError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
