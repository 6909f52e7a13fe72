"""Executors and requests for the tests of this folder."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.control_plane import FakeControlPlane
from tests.integration.executor.running import RunningExecutor, open_directory, run_executor

TOKEN = "token-of-the-tests"
HELD = """
import os, time
def handler(event):
    open("begun", "w").close()
    while not os.path.exists("go"): time.sleep(0.01)
"""
"""Runs until ``RunningExecutor.let_go`` makes the file ``go``."""
_numbers = itertools.count()


def make_request(code: str = "def handler(event):\n    return event\n", **fields: Any) -> dict[str, Any]:
    """A valid request with an id of its own."""
    execution_id = f"exec_20260115_{next(_numbers):08d}"
    return {"code": code, "language": "python", "execution_id": execution_id, **fields}


@pytest.fixture
def directory() -> Iterator[Path]:
    """For workspaces, results and token files of one test."""
    with open_directory() as made:
        yield made


@pytest.fixture(scope="session")
def shared_executor() -> Iterator[RunningExecutor]:
    """One executor without a Control Plane, for all tests that leave it as it was."""
    with open_directory() as made, run_executor(made) as executor:
        yield executor


@pytest.fixture
async def client(shared_executor: RunningExecutor) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shared executor."""
    async with shared_executor.client() as made:
        yield made


@pytest.fixture
async def control_plane() -> AsyncIterator[FakeControlPlane]:
    """A Control Plane with a path prefix that knows one token."""
    async with FakeControlPlane(tokens={TOKEN}, prefix="/some/prefix") as made:
        yield made


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., RunningExecutor]]:
    """Starts executors of this test; a second one finds what the first left on disk."""
    with ExitStack() as running:
        yield lambda **environment: running.enter_context(run_executor(directory, **environment))


@pytest.fixture
def reporting(start: Callable[..., RunningExecutor], control_plane: FakeControlPlane) -> Callable[..., RunningExecutor]:
    """Starts executors that report to ``control_plane``."""

    def begin(**environment: str) -> RunningExecutor:
        return start(**{"CONTROL_PLANE_URL": control_plane.url, "INTERNAL_API_TOKEN": TOKEN, **environment})

    return begin
