"""The environment that user code starts with: the least that programs expect, and the request's own."""

from collections.abc import Mapping
from typing import Final

MINIMUM: Final[Mapping[str, str]] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",  # not the workspace, where caches and dotfiles would be taken for artifacts
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",
}


def build_environment(asked: Mapping[str, str]) -> dict[str, str]:
    """The minimum, overridden and extended by what the request asks for."""
    return {**MINIMUM, **asked}
