"""Redirects are refused, never followed: a token goes where it was meant to go, and nowhere else.

For clients whose library follows redirects and has no switch for it (the official Kubernetes client, kopf).
"""

from typing import Final

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Redirected(aiohttp.ClientError):
    """A server answered with a redirect. The text does not name its target, which a stranger may have chosen."""


async def refuse_redirects(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """An aiohttp client middleware. It sees each answer before aiohttp looks for redirects.

    Raises:
        Redirected: the answer is one; nothing has been sent to its target.
    """
    response = await handler(request)
    if response.status in _REDIRECTS:
        response.close()
        raise Redirected(f"{request.method} was answered with a redirect ({response.status}), which is not followed")
    return response
