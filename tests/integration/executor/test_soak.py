"""A short soak; ``make soak`` is the long one (SC-005)."""

from pathlib import Path

import pytest

from benchmarks.soak import CLIENTS, LOADS, run_soak

pytestmark = pytest.mark.sandbox

SOAK_S = 8
LOADS_OF_EACH = 3 * len(LOADS) // CLIENTS


@pytest.mark.timeout(600)
async def test_a_short_soak_ends_where_it_began(directory: Path) -> None:
    soak, _, _, leaks = await run_soak(SOAK_S, directory, LOADS_OF_EACH)
    assert leaks == []
    assert len(soak.ids) > 3 * len(LOADS)
