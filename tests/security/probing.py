"""The probe, run in a process of its own without root, as an executor does, with anything put around it."""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

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
from executor_runtime.sandbox import Job, Sandbox, SandboxError, probe
from executor_runtime.workspace import Workspaces
async def main():
    try:
        found = await probe(sys.argv[1])
        workspaces = Workspaces(Path(sys.argv[2]))
    except SandboxError as error:
        return {"error": str(error)}
    workspace = workspaces.create("x")
    job = Job("x", "python", "def handler(event): return 'ran'", workspace, 60)
    run = await Sandbox(found).run(job, asyncio.Event())
    workspaces.remove(workspace)
    return {"level": found.level, "shortfall": found.shortfall, "returned": (run.returned or b"").decode()}
print(json.dumps(asyncio.run(main())))
"""


@contextlib.contextmanager
def open_place() -> Iterator[Path]:
    """A directory that an unprivileged user may reach, with nothing in it."""
    path = Path(tempfile.mkdtemp(prefix="probe-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def probed(
    mode: str, around: Sequence[str], place: Path, before: Sequence[str] = (), python: str = sys.executable
) -> dict[str, str]:
    """What the probe found and how a run went, or ``error``.

    ``around`` is a command that runs its last arguments without root, ``before`` one that does so as it is, then root.
    """
    inner = [*around, python, "-c", PROBE, mode, str(place)]
    argv = [*before, sys.executable, "-c", DROP, str(place), *inner]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, timeout=200)
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer
