"""A log API that is away is asked again for about a minute, and what was read before is not asked for twice."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import cast

import pytest

from contracts.output_events import Chunk, End, Ending, Position, encode
from sandbox_executor_client.errors import Unavailable
from sandbox_executor_client.kube import KubeApi
from sandbox_executor_client.output import read_output

_ATTEMPT = b'id: 0-0\nevent: attempt\ndata: {"attempt": 1}\n\n'
_END = End(Ending(phase="Succeeded", stdout_bytes=3, stderr_bytes=0), Position(3, 0))


class _Away:
    """Answers after so many refusals; the first answer breaks off."""

    def __init__(self, refusals: int) -> None:
        self._refusals = refusals
        self.asked: list[Mapping[str, str]] = []

    async def stream(self, _path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        self.asked.append(query)
        if len(self.asked) == 1:
            yield _ATTEMPT + encode(Chunk("stdout", b"ab", Position(2, 0)))
        elif len(self.asked) <= self._refusals + 1:
            raise Unavailable("no pod answers")
        else:
            yield encode(Chunk("stdout", b"c", Position(3, 0))) + encode(_END)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


async def _read(away: _Away) -> bytes:
    return b"".join([output.data async for output in read_output(cast(KubeApi, away), "/log", follow=True)])


async def test_one_that_is_back_after_half_a_minute_is_read_on(waited: list[float]) -> None:
    away = _Away(refusals=6)
    assert await _read(away) == b"abc"
    assert sum(waited) > 30
    assert away.asked[0] == {"follow": "true"}
    assert away.asked[-1] == {"follow": "true", "attempt": "1", "stdoutOffset": "2", "stderrOffset": "0"}


async def test_one_that_stays_away_is_given_up_after_a_minute(waited: list[float]) -> None:
    with pytest.raises(Unavailable, match="no pod answers"):
        await _read(_Away(refusals=100))
    assert 50 < sum(waited) < 60
