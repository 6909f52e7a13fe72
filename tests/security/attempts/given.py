"""Files that a request brings, where an attacker has chosen their paths, or what lies at these paths already."""

import base64
from typing import TYPE_CHECKING, Any, Final

from tests.security.attempts.model import Attempt, Outcome

if TYPE_CHECKING:
    from tests.security.attempts.world import World

_GIVEN: Final = "given-by-the-request"
_UPWARDS: Final = ("../../../canary", "new/../../../../canary", "./../../../watched")
"""From a workspace to what the test watches, beside the executor's directories."""

PLANT_LINKS: Final = """
import os
def handler(event):
    place = os.path.dirname(event["canary_path"])
    os.makedirs("deep/er")
    os.symlink(event["canary_path"], "file")
    os.symlink("../../../watched", "relative")
    os.symlink(place, "directory")
    os.symlink("../../../..", "deep/er/up")
    os.symlink("/proc/self/cwd/../../..", "deep/cwd")
"""
ON_LINKS: Final = ("file", "relative", "directory/canary", "directory/watched", "deep/er/up/canary", "deep/cwd/canary")

PLANT_OBSTACLES: Final = """
mkdir -p closed/below directory/with/more; touch directory/with/more/file plain
chmod 000 directory/with closed/below closed directory; chmod 000 .
"""
ON_OBSTACLES: Final = ("closed/below/file", "directory", "plain/file")


def _touched(world: "World", _outcome: Outcome) -> bool:
    return world.canary_changed()


def _was_kept_from_running(_world: "World", outcome: Outcome) -> bool:
    return bool(outcome.result["stdout"] != _GIVEN * len(ON_OBSTACLES))


def _give(*paths: str) -> dict[str, Any]:
    content = base64.b64encode(_GIVEN.encode()).decode()
    return {"files": [{"path": path, "content": content} for path in paths]}


PATHS: Final = tuple(
    Attempt(f"given/path-{number}", "shell", "true", _touched, without=("given_paths",), request=_give(path))
    for number, path in enumerate(_UPWARDS)
)

SESSIONS: Final = (
    Attempt(
        "given/links",
        "python",
        PLANT_LINKS,
        _touched,
        without=("given_links",),
        request={"session_id": "given-links"},
        then=(
            Attempt(
                "given/links-followed",
                "shell",
                "true",
                _touched,
                unproved="a part of another",
                request={"session_id": "given-links", **_give(*ON_LINKS)},
            ),
        ),
    ),
    Attempt(
        "given/obstacles",
        "shell",
        PLANT_OBSTACLES,
        _was_kept_from_running,
        without=("given_links",),
        request={"session_id": "given-obstacles"},
        then=(
            Attempt(
                "given/obstacles-met",
                "shell",
                f"cat {' '.join(ON_OBSTACLES)}",
                _was_kept_from_running,
                unproved="a part of another",
                request={"session_id": "given-obstacles", **_give(*ON_OBSTACLES)},
            ),
        ),
    ),
)

ATTEMPTS: Final = (*PATHS, *SESSIONS)
