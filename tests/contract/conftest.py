"""One executor with real bubblewrap, and a client of it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.executor.running import RunningExecutor, open_directory, run_executor

TOKEN = "token-of-the-contract-tests"


@pytest.fixture(scope="session")
def executor() -> Iterator[RunningExecutor]:
    """Two slots and a token, as in a cluster."""
    with open_directory() as made, run_executor(made, EXECUTE_API_TOKEN=TOKEN) as started:
        yield started


@pytest.fixture(scope="session")
def client(executor: RunningExecutor) -> Iterator[httpx.Client]:
    """One that shows the token."""
    authorized = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=executor.url, headers=authorized, timeout=200, trust_env=False) as made:
        yield made


@pytest.fixture(scope="session")
def document(client: httpx.Client) -> dict[str, Any]:
    """What ``/openapi.json`` says."""
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found
