"""A short soak; ``make soak`` is the long one (SC-005)."""

from pathlib import Path

import pytest

from benchmarks.soak import LOADS, run_soak

pytestmark = pytest.mark.sandbox

SOAK_S = 8


async def test_a_short_soak_ends_where_it_began(directory: Path) -> None:
    soak, _, _, leaks = await run_soak(SOAK_S, directory)
    assert leaks == []
    assert len(soak.ids) > 3 * len(LOADS)
