"""The environment: where to listen, and the one token that callers must show."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mock_control_plane.errors import StartError

DEFAULT_PORT: Final = 8000
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")


@dataclass(frozen=True)
class Settings:
    """``port`` 0: a free one, named in the first line of the output."""

    token: str = field(repr=False)
    host: str
    port: int


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """``INTERNAL_API_TOKEN`` or ``INTERNAL_API_TOKEN_FILE`` (as the executor has them), ``HOST``, ``PORT``.

    Raises:
        StartError: a value is missing or wrong.
    """
    port = environment.get("PORT", "") or str(DEFAULT_PORT)
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise StartError(f"PORT is {port[:20]!a}, which is no port; for example PORT={DEFAULT_PORT}")
    return Settings(_read_token(environment), environment.get("HOST", "") or "0.0.0.0", int(port))


def _read_token(environment: Mapping[str, str]) -> str:
    token, path = environment.get("INTERNAL_API_TOKEN", ""), environment.get("INTERNAL_API_TOKEN_FILE", "")
    if token and path:
        raise StartError("INTERNAL_API_TOKEN and INTERNAL_API_TOKEN_FILE are both set: unset one of them")
    if path:
        try:
            token = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StartError(f"INTERNAL_API_TOKEN_FILE names a file that cannot be read: {error}") from error
    if not _TOKEN.fullmatch(token):
        raise StartError(
            "INTERNAL_API_TOKEN must be 1 to 4096 visible ASCII characters, the same as the executor's; "
            "for example INTERNAL_API_TOKEN_FILE=.secrets/internal-api-token"
        )
    return token
