"""A real executor process on this machine, for as long as one Execution needs it."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox_run.errors import ExecutorFailed

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0
_LINE_BYTES = 1_048_576


@dataclass(frozen=True)
class LocalExecutor:
    """Where it listens, and the token that its API asks for."""

    url: str
    token: str


@contextlib.asynccontextmanager
async def local_executor() -> AsyncIterator[LocalExecutor]:
    """Starts ``python -m executor_runtime`` with directories of its own; both are gone afterwards.

    Raises:
        ExecutorFailed: it did not start; the text is the line that it ended with.
    """
    base = Path(tempfile.mkdtemp(prefix="sandbox-run-"))
    token = secrets.token_urlsafe(32)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "executor_runtime"),
            env=_environment(base, token),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
        )
        try:
            port = await _wait_for_port(process)
            async with _draining(process):
                yield LocalExecutor(f"http://127.0.0.1:{port}", token)
        finally:
            await _stop(process)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _environment(base: Path, token: str) -> dict[str, str]:
    base.chmod(0o711)  # started by root, the executor becomes another user, who must get at what is below
    token_file = base / "token"
    token_file.write_text(token)
    if os.geteuid() == 0:
        from executor_runtime.privileges import UNPRIVILEGED_ID

        os.chown(token_file, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    token_file.chmod(0o400)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOST": "127.0.0.1",
        "EXECUTOR_PORT": "0",
        "WORKSPACE_PATH": str(base / "workspace"),
        "RESULTS_PATH": str(base / "results"),
        "EXECUTE_API_TOKEN_FILE": str(token_file),
        "ISOLATION_MODE": os.environ.get("ISOLATION_MODE", "strict"),
    }


async def _wait_for_port(process: asyncio.subprocess.Process) -> int:
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            assert process.stdout is not None
            while line := await process.stdout.readline():
                record = _record(line)
                if record.get("event_type") == "executor_started":
                    return int(record["port"])
            assert process.stderr is not None
            said = (await process.stderr.read()).decode("utf-8", "replace").strip()
    except TimeoutError:
        raise ExecutorFailed(f"the executor has not started within {_START_TIMEOUT_S:.0f} s") from None
    raise ExecutorFailed(said or f"the executor ended with exit code {await process.wait()} and no message")


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


@contextlib.asynccontextmanager
async def _draining(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Whoever stops the process reads its pipes to their end: by then nobody else may."""
    task = asyncio.create_task(_drain(process))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Reads its logs, so that a full pipe never stops it."""
    assert process.stdout is not None
    while await process.stdout.read(65_536):
        pass


async def _stop(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.communicate(), _STOP_TIMEOUT_S)
            return
