"""An executor process for tests: started like a user would, ended by its pid, nothing left behind."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[3]
START_TIMEOUT_S = 20.0


class RunningExecutor:
    """``python -m executor_runtime`` on a free port of loopback."""

    def __init__(
        self, directory: Path, environment: dict[str, str], module: Sequence[str] = ("executor_runtime",)
    ) -> None:
        """``module`` and its arguments: another one starts the executor with something changed."""
        self.directory = directory
        self.workspaces = directory / "workspaces"
        self.results = directory / "results"
        self.log: list[dict[str, Any]] = []
        self.raw_log: list[str] = []
        self.started_at = time.monotonic()
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env={**base_environment(directory), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    @property
    def port(self) -> int:
        """Known once it listens."""
        return int(self.wait_for_log("executor_started")["port"])

    @property
    def url(self) -> str:
        """Of its HTTP API."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.AsyncClient:
        """An HTTP client; each is the caller's to close."""
        return httpx.AsyncClient(base_url=self.url, timeout=60, trust_env=False, **options)

    def wait_for_log(self, event_type: str, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """The first log record of this type."""
        with self._changed:
            ended = not self._changed.wait_for(lambda: self._find(event_type) or not self._reader.is_alive(), timeout_s)
            found = self._find(event_type)
        if found is None:
            reason = "timed out" if ended else f"ended: {self.stderr()}"
            raise AssertionError(f"no {event_type} in the executor's log ({reason}); it has {self.raw_log[-20:]}")
        return found

    def terminate(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 10.0) -> tuple[int, float]:
        """Sends the signal and waits; the exit code and the seconds it took."""
        begun = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        return code, time.monotonic() - begun

    def wait_for_file(self, execution_id: object, name: str, timeout_s: float = 10.0) -> None:
        """Until an execution has made a file of this name in its workspace: how tests see that its code runs."""
        deadline = time.monotonic() + timeout_s
        while not list(self.workspaces.glob(f"{execution_id}-*/{name}")):
            assert time.monotonic() < deadline, f"{execution_id} made no {name}"
            time.sleep(0.02)

    def stderr(self) -> str:
        """What the ended process wrote there."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def close(self) -> None:
        """Ends it in any case."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _find(self, event_type: str) -> dict[str, Any] | None:
        return next((record for record in self.log if record.get("event_type") == event_type), None)

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.raw_log.append(line.decode())
                self.log.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def base_environment(directory: Path) -> dict[str, str]:
    """Nothing of the tests' own environment but what an interpreter needs."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "HOST": "127.0.0.1",
        "EXECUTOR_PORT": "0",
        "WORKSPACE_PATH": str(directory / "workspaces"),
        "RESULTS_PATH": str(directory / "results"),
        "CONTAINER_ID": "executor-under-test",
        "POD_NAME": "pod-under-test",
        "MAX_CONCURRENT_EXECUTIONS": "2",
        "ISOLATION_MODE": "best-effort",
    }


@contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that the unprivileged uid can reach, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="executor-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextmanager
def run_executor(directory: Path, **environment: str) -> Iterator[RunningExecutor]:
    """A started executor, ended at the end of the block."""
    executor = RunningExecutor(directory, environment)
    try:
        yield executor
    finally:
        executor.close()


async def read_metric(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    text = (await client.get("/metrics")).text
    found = [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]
    return sum(sample.value for sample in found if labels.items() <= sample.labels.items())


async def wait_until_warm(client: httpx.AsyncClient, count: int) -> None:
    """Until so many sandboxes wait for code."""
    async with asyncio.timeout(30):
        while await read_metric(client, "sandbox_executor_warm_sandboxes") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
