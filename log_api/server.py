"""The HTTP side: who asks, what for, and an answer as a Kubernetes client expects it."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from contracts.kube import DNS_NAME_LENGTH, DNS_NAME_PATTERN
from controller.clients.kube import KubeClient
from controller.errors import StoreError
from controller.logs import get_logger
from log_api import discovery, openapi
from log_api.errors import StatusError, bad_request, unavailable
from log_api.events import Attempt, Event, KeepAlive, Pause
from log_api.executions import Executions
from log_api.follow import Follower
from log_api.group import GROUP_PATH, LOG_PATH, OUTPUTS, OUTPUTS_PATH, VERSION_PATH
from log_api.identity import User, identify
from log_api.metrics import Metrics
from log_api.options import LogOptions, parse_options
from log_api.outputs import Outputs, list_outputs, parse_output_options
from log_api.rendering import Limit, Writer, make_writer
from log_api.review import check_access
from log_api.streams import Streams
from log_api.trust import Trust

_NAME: Final = re.compile(DNS_NAME_PATTERN)
_HEALTH: Final = frozenset({"/healthz", "/livez", "/readyz"})
_USER: Final = web.RequestKey("user", User)
_CLIENT_LEFT: Final = 499
"""As nginx counts it."""
_SEND_BUFFER_BYTES: Final = 262_144
"""As an executor's: what lies in it when the connection breaks is asked for again."""
_DOWNLOAD: Final = {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"}
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
logger = get_logger(__name__)


class LogApi:
    """The routes of the group, and of what clients read to learn of it."""

    def __init__(
        self,
        kube: KubeClient,
        trust: Trust,
        executions: Executions,
        follower: Follower,
        streams: Streams,
        metrics: Metrics,
        outputs: Outputs,
    ) -> None:
        self._kube = kube
        self._trust = trust
        self._executions = executions
        self._follower = follower
        self._streams = streams
        self._metrics = metrics
        self._outputs = outputs

    def build(self) -> web.Application:
        """The application; it has to be served with TLS (``Trust.listen``)."""
        app = web.Application(middlewares=[_answer_errors, self._authenticate])
        app.router.add_get("/apis", _groups, allow_head=False)
        app.router.add_get(LOG_PATH, self._counting(self._send_log), allow_head=False)
        app.router.add_get(OUTPUTS_PATH, self._counting(self._send_outputs), allow_head=False)
        documents = {
            GROUP_PATH: discovery.build_group(),
            VERSION_PATH: discovery.build_resources(),
            "/openapi/v2": openapi.build_v2(),
            "/openapi/v3": openapi.build_v3_index(),
            f"/openapi/v3{VERSION_PATH}": openapi.build_v3(),
        }
        for path, document in documents.items():
            app.router.add_get(path, _serve(document), allow_head=False)
        for path in _HEALTH:
            app.router.add_get(path, _say_ok)
        return app

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in _HEALTH:
            proxy = self._trust.believes(request.get_extra_info("ssl_object"))
            if proxy is None:
                raise unavailable("the API server's certificate authority has changed: connect again")
            request[_USER] = identify(proxy, request.get_extra_info("peercert"), request.headers.items())
        return await handler(request)

    def _counting(self, handler: Handler) -> Handler:
        async def count(request: web.Request) -> web.StreamResponse:
            response: web.StreamResponse | None = None
            code = 500
            try:
                response = await handler(request)
                code = response.status
            except StatusError as error:
                code = error.code
                raise
            except (ConnectionError, asyncio.CancelledError):
                code = _CLIENT_LEFT
                raise
            finally:
                self._metrics.requests.labels(str(code)).inc()
            return response

        return count

    async def _send_log(self, request: web.Request) -> web.StreamResponse:
        namespace, name = _checked(request, "namespace"), _checked(request, "name")
        user = request[_USER]
        await check_access(self._kube, user, namespace, name)
        options = parse_options(dict(request.query))
        view = await self._executions.read(namespace, name)
        writer = make_writer(request.headers.get("Accept", ""), options.stream, options.start)
        with self._streams.open(user.name):
            follow = self._follower.follow(view, options)
            async with aclosing(follow):
                return await self._send(request, writer, options, follow)

    async def _send_outputs(self, request: web.Request) -> web.StreamResponse:
        namespace, name = _checked(request, "namespace"), _checked(request, "name")
        user = request[_USER]
        await check_access(self._kube, user, namespace, name, OUTPUTS)
        options = parse_output_options(dict(request.query))
        view = await self._executions.read(namespace, name)
        if options is None:
            return web.json_response(list_outputs(view), headers=_HEADERS)
        with self._streams.open(user.name):
            size, pieces = await self._outputs.open(view, options)
            return await self._send_object(request, size, pieces)

    async def _send_object(self, request: web.Request, size: int, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
        """One piece at a time, as the client takes them. Whatever user code called it: it is bytes, to be saved."""
        response = web.StreamResponse(headers={**_HEADERS, **_DOWNLOAD})
        response.content_length = size
        await response.prepare(request)
        try:
            async for piece in pieces:
                await response.write(piece)
                self._metrics.sent.inc(len(piece))
        except StoreError as error:
            logger.warning("an output could not be sent to its end", error=str(error))
            raise ConnectionError("the object store's answer broke off") from error
        await response.write_eof()
        return response

    async def _send(
        self, request: web.Request, writer: Writer, options: LogOptions, events: AsyncGenerator[Event, None]
    ) -> web.StreamResponse:
        """Nothing is held here but one event: writing waits for the client, and reading for the writing."""
        _bound_sending(request)
        data = b""
        limit = Limit(options.limit_bytes, options.stream)
        response = web.StreamResponse(headers=_HEADERS)
        response.content_type = writer.content_type
        response.charset = "utf-8"
        if options.follow:
            await response.prepare(request)
        try:
            async for event in events:
                data += writer.write(limit.cut(event))
                if limit.reached:
                    data += writer.write(Pause())
                if not response.prepared:
                    if isinstance(event, Attempt | KeepAlive):
                        continue  # its executor may not answer, and then this is an error
                    await response.prepare(request)
                if data:
                    await response.write(data)
                    self._metrics.sent.inc(len(data))
                    data = b""
                if limit.reached:
                    break
        except StatusError as error:
            if not response.prepared:
                raise
            await response.write(writer.fail(error))
        await response.write_eof()
        return response


def _bound_sending(request: web.Request) -> None:
    connection = request.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):  # closed by now, as the first write says
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)


def _checked(request: web.Request, part: str) -> str:
    """A name of the path, as it may stand in another one."""
    name = request.match_info[part]
    if len(name) > DNS_NAME_LENGTH or not _NAME.fullmatch(name):
        raise bad_request(f"{name!r} is not a {part}: use lower case letters, digits, '-' and '.'")
    return name


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal as a ``Status``, from wherever it comes."""
    try:
        return await handler(request)
    except StatusError as error:
        return _refuse(error)
    except web.HTTPMethodNotAllowed:
        return _refuse(StatusError(405, "the server does not allow this method on the requested resource"))
    except web.HTTPNotFound:
        return _refuse(StatusError(404, "the server could not find the requested resource"))
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        logger.exception("a request failed", path=request.path)
        return _refuse(StatusError(500, "the log API failed at this request; its log says where"))


def _refuse(error: StatusError) -> web.Response:
    headers = {**_HEADERS, **({"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {})}
    return web.json_response(error.to_kube(), status=error.code, headers=headers)


def _serve(document: Mapping[str, object]) -> Handler:
    async def serve(_request: web.Request) -> web.Response:
        return web.json_response(document)

    return serve


async def _groups(request: web.Request) -> web.Response:
    if discovery.wants_aggregated(request.headers.get("Accept", "")):
        body = json.dumps(discovery.build_aggregated()).encode()
        return web.Response(body=body, headers={"Content-Type": discovery.AGGREGATED_TYPE, "Vary": "Accept"})
    return web.json_response(discovery.build_groups(), headers={"Vary": "Accept"})


async def _say_ok(_request: web.Request) -> web.Response:
    return web.Response(text="ok")
