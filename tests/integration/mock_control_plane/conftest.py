"""The Control Plane that the tests of this folder talk to."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.integration.mock_control_plane.running import RunningControlPlane, run_control_plane

TOKEN = "token-of-the-mock-tests"


@pytest.fixture
def control_plane() -> Iterator[RunningControlPlane]:
    """One process for each test: what it has received is part of the test."""
    with run_control_plane(TOKEN) as running:
        yield running


@pytest.fixture
async def client(control_plane: RunningControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    """Shows the right token."""
    async with control_plane.client() as made:
        yield made
