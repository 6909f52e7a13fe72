"""Answers of a fake transport, streamed as a real connection would."""

from collections.abc import AsyncIterator

import httpx


def make_answer(status: int) -> httpx.Response:
    """An answer with a short body that has not been read yet."""

    async def body() -> AsyncIterator[bytes]:
        yield b'{"status": '
        yield b'"noted"}'

    return httpx.Response(status, content=body())
