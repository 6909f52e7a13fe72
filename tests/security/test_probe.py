"""What the probe finds on a node that gives less, made here by a sandbox around the whole executor."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.sandbox

REPOSITORY = Path(__file__).parents[2]
AS_IN_A_POD = ["bwrap", "--unshare-user", "--unshare-pid", "--dev-bind", "/", "/", "--proc", "/proc"]
MASKED_PROC = [*AS_IN_A_POD, "--tmpfs", "/proc/fs"]
"""The kernel mounts no new /proc where the one that can be seen is covered in part, as container runtimes do."""
NO_USER_NAMESPACES = [*AS_IN_A_POD, "--disable-userns"]

DROP = """
import os, sys
from pathlib import Path
from executor_runtime.privileges import drop_or_refuse
drop_or_refuse([Path(sys.argv[1])])
os.environ["TMPDIR"] = sys.argv[1]
os.execvp(sys.argv[2], sys.argv[2:])
"""
PROBE = """
import asyncio, json, sys
from pathlib import Path
from executor_runtime.sandbox import IsolationUnavailable, Job, Sandbox, probe
from executor_runtime.workspace import Workspaces
async def main():
    try:
        found = await probe(sys.argv[1])
    except IsolationUnavailable as error:
        return {"error": str(error)}
    workspaces = Workspaces(Path(sys.argv[2]))
    workspace = workspaces.create("x")
    job = Job("x", "python", "def handler(event): return 'ran'", workspace, 10)
    run = await Sandbox(found).run(job, asyncio.Event())
    workspaces.remove(workspace)
    return {"level": found.level, "shortfall": found.shortfall, "returned": (run.returned or b"").decode()}
print(json.dumps(asyncio.run(main())))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that an unprivileged user may reach, with nothing in it."""
    path = Path(tempfile.mkdtemp(prefix="probe-test-"))
    yield path
    shutil.rmtree(path)


def probed(mode: str, around: list[str], place: Path) -> dict[str, str]:
    inner = [*around, sys.executable, "-c", PROBE, mode, str(place)]
    argv = [sys.executable, "-c", DROP, str(place), *inner]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("mode", ["strict", "best-effort"])
def test_full_is_taken_where_it_works(place: Path, mode: str) -> None:
    assert probed(mode, [], place) == {"level": "full", "shortfall": "", "returned": 'returned\n"ran"'}


def test_strict_refuses_a_masked_proc_and_names_the_setting(place: Path) -> None:
    error = probed("strict", MASKED_PROC, place)["error"]
    assert error.startswith("isolation 'full' does not work here: bwrap: Can't mount proc")
    assert "procMount: Unmasked" in error
    assert "\n" not in error


def test_best_effort_takes_reduced_says_why_and_runs_code(place: Path) -> None:
    found = probed("best-effort", MASKED_PROC, place)
    assert (found["level"], found["returned"]) == ("reduced", 'returned\n"ran"')
    assert "procMount: Unmasked" in found["shortfall"]


@pytest.mark.parametrize("mode", ["strict", "best-effort"])
def test_nothing_is_taken_without_user_namespaces(place: Path, mode: str) -> None:
    error = probed(mode, NO_USER_NAMESPACES, place)["error"]
    assert "isolation 'full' does not work here: bwrap: " in error
    assert ("isolation 'reduced' does not work here: bwrap: " in error) is (mode == "best-effort")
    assert "user namespaces" in error
    assert "\n" not in error
