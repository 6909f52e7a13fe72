"""The calls of the Kubernetes API that this client makes, over the official client's configuration and connections.

Answers become values or errors of ``errors`` here; nothing else in the package sees HTTP. Every call can be made
again: reads change nothing, creation has a fixed name, deletion names a uid.
"""

import asyncio
import json
import os
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import aiohttp
import yaml

from contracts.kube import GROUP
from sandbox_executor_client.errors import (
    ClientError,
    Conflict,
    Forbidden,
    InvalidExecution,
    NotConfigured,
    NotFound,
    NotInstalled,
    Unavailable,
)

if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

Body = dict[str, Any]

_BACKOFF_S: Final = (0.1, 0.3, 1.0, 2.0, 4.0)
_READY: Final = "/readyz"
"""Every user that has shown who it is may read it, by the ClusterRole ``system:public-info-viewer``."""
_TIMEOUT_S: Final = 30.0
_MAX_LINE_BYTES: Final = 16 * 1_048_576
"""The API server keeps no object larger than etcd's request limit, by default 1.5 MiB."""
_RECEIVE_BUFFER_BYTES: Final = 524_288
"""Of a stream: what lies in it when the connection breaks has to be kept by an executor, for it is asked for again. The
kernel would let it grow to what ``tcp_rmem`` says, 32 MiB on some machines."""
_READ_AHEAD_BYTES: Final = 65_536
"""Of a stream, in this process, for the same reason; of other answers the official client holds 4 MiB."""
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_EVENTS: Final = "text/event-stream"
_MERGE_PATCH: Final = "application/merge-patch+json"


class Gone(ClientError):
    """HTTP 410: a watch's resourceVersion is too old; never leaves this package."""


class AlreadyExists(ClientError):
    """HTTP 409 for a creation; never leaves this package."""


@dataclass(frozen=True)
class _Answer:
    """HTTP status, body, and the id that the API server's audit log has for the request."""

    status: int
    body: bytes | str
    request_id: str


async def load_configuration(kubeconfig: str | None, context: str | None) -> tuple["Configuration", str]:
    """(how to reach the API server, the namespace to work in): a kubeconfig if one is named, else a pod's own.

    Raises:
        NotConfigured: there is neither, or it cannot be read.
    """
    # The official client takes a second to import: who only reads results that are there shall not wait for it.
    from kubernetes.aio.client import Configuration
    from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
    from kubernetes.aio.config.kube_config import list_kube_config_contexts

    configuration = Configuration()
    named = kubeconfig or os.environ.get("KUBECONFIG") or None
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and named is None and context is None:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            return configuration, _NAMESPACE_FILE.read_text().strip()
        _check_files(named)
        # Named, for the official client takes KUBECONFIG as it was when it was imported.
        await load_kube_config(named, context, client_configuration=configuration)  # type: ignore[no-untyped-call]
        contexts, current = list_kube_config_contexts(named)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        what = " ".join(str(error).split())  # of a file that is no kubeconfig it may be any of these
        raise NotConfigured(
            f"no cluster is configured ({what}): set KUBECONFIG=/path/to/kubeconfig, or run in a pod"
        ) from None
    chosen = next((found for found in contexts if found["name"] == context), current)
    return configuration, str(chosen["context"].get("namespace") or "default")


def _check_files(named: str | None) -> None:
    """The official client prints a line for each file that is missing, and then says that a key is."""
    files = [Path(part).expanduser() for part in (named or "~/.kube/config").split(os.pathsep) if part]
    if not any(file.exists() for file in files):
        raise FileNotFoundError(f"there is no file {os.pathsep.join(map(str, files))}")


class KubeApi:
    """One connection pool to one API server."""

    def __init__(self, configuration: "Configuration") -> None:
        from kubernetes.aio.client.rest import RESTClientObject

        self._configuration = configuration
        self._session: aiohttp.ClientSession = RESTClientObject(configuration)._create_pool_manager()

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def get(self, path: str, **query: str) -> Body:
        """One object, or a list."""
        return await self._call("GET", path, query=query)

    async def create(self, path: str, body: Body) -> Body:
        """Raises AlreadyExists also when an earlier try of this very call has created it."""
        return await self._call("POST", path, body)

    async def merge(self, path: str, body: Body) -> Body:
        """A JSON merge patch (RFC 7386)."""
        return await self._call("PATCH", path, body, _MERGE_PATCH)

    async def delete(self, path: str, uid: str) -> None:
        """Deletes it if it still is the object with this uid."""
        await self._call("DELETE", path, {"preconditions": {"uid": uid}})

    async def _call(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Body:
        """Tries again while the API server does not answer, or says that it is too busy."""
        for pause_s in _BACKOFF_S:
            try:
                return await self._try(method, path, body, content_type, query)
            except Unavailable:
                await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries
        return await self._try(method, path, body, content_type, query)

    async def _try(
        self, method: str, path: str, body: Body | None, content_type: str, query: Mapping[str, str] | None
    ) -> Body:
        answer = await self._exchange(method, path, body, content_type, query)
        if answer.status == 403:
            await self._check_ready()
            answer = await self._exchange(method, path, body, content_type, query)
        if answer.status >= 300:
            raise _error(method, path, answer)
        parsed: Body = json.loads(answer.body) if answer.body else {}
        return parsed

    async def _exchange(
        self, method: str, path: str, body: Body | None, content_type: str, query: Mapping[str, str] | None
    ) -> _Answer:
        response = await self._send(method, path, body, content_type, query, aiohttp.ClientTimeout(total=_TIMEOUT_S))
        try:
            return await _answer(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{method} {path}: the API server's answer broke off ({type(error).__name__})") from error

    async def _check_ready(self) -> None:
        """One that has just started refuses everything until it has read who may do what: that is no verdict.

        Raises:
            Unavailable: the API server is not ready.
        """
        answer = await self._exchange("GET", _READY, None, "application/json", None)
        if answer.status != 200:
            raise Unavailable("the API server is not ready, and refuses")

    async def watch(self, path: str, resource_version: str, silence_s: float, **query: str) -> AsyncIterator[Body]:
        """Events of one watch request until it ends.

        Raises:
            Gone: the version is too old: list again.
            Unavailable: the connection broke, or nothing came for ``silence_s``, not even a bookmark.
        """
        wanted = {**query, "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": resource_version}
        wanted["timeoutSeconds"] = str(max(int(silence_s), 1))
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S, sock_read=silence_s + _TIMEOUT_S)
        response = await self._send("GET", path, None, "application/json", wanted, timeout)
        try:
            if response.status == 403:
                await self._check_ready()
            if response.status >= 300:
                raise _error("GET", path, await _answer(response))
            async for line in _lines(response):
                event: Body = json.loads(line)
                if event["type"] == "ERROR":
                    ended = _Answer(int(event["object"].get("code", 500)), json.dumps(event["object"]), "")
                    raise _error("GET", path, ended)
                yield event
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"GET {path}: the watch broke off ({type(error).__name__})") from error
        finally:
            response.close()

    async def stream(
        self, path: str, query: Mapping[str, str], *, accept: str = _EVENTS
    ) -> AsyncGenerator[bytes, None]:
        """The pieces of an answer, by default one with server-sent events, until it ends.

        Raises:
            Unavailable: the connection broke, or nothing came for half a minute, not even a comment.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S, sock_read=_TIMEOUT_S)
        response = await self._send(
            "GET",
            path,
            None,
            "application/json",
            query,
            timeout,
            accept=accept,
            read_ahead_bytes=_READ_AHEAD_BYTES,
        )
        try:
            if response.status == 403:
                await self._check_ready()
            if response.status >= 300:
                raise _error("GET", path, await _answer(response))
            _bound_receiving(response)
            async for piece in response.content.iter_any():
                yield piece
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"GET {path}: the answer broke off ({type(error).__name__})") from error
        finally:
            response.close()

    async def _send(
        self,
        method: str,
        path: str,
        body: Body | None,
        content_type: str,
        query: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,
        *,
        accept: str = "application/json",
        read_ahead_bytes: int | None = None,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": "sandbox-executor-client"}
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        url = self._configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            return await self._session.request(
                method,
                url,
                headers=headers,
                data=None if body is None else json.dumps(body),
                timeout=timeout,
                read_bufsize=read_ahead_bytes,
                allow_redirects=False,  # the token goes to the API server and nowhere else
                proxy=self._configuration.proxy,
                server_hostname=self._configuration.tls_server_name,
            )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{method} {path}: no answer from the API server ({type(error).__name__})") from error


def _bound_receiving(response: aiohttp.ClientResponse) -> None:
    transport = response.connection and response.connection.transport  # None: all of it is here already
    connection = transport.get_extra_info("socket") if transport else None
    if connection is not None:
        with suppress(OSError):  # closed by now, as reading says
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Whole lines of any length up to a bound; aiohttp's own ``readline`` gives up at its buffer's size."""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        rest += chunk
        *whole, last = rest.split(b"\n")
        for line in whole:
            if line.strip():
                yield bytes(line)
        rest = bytearray(last)
        if len(rest) > _MAX_LINE_BYTES:
            raise ValueError("a watch event is too large")


async def _answer(response: aiohttp.ClientResponse) -> _Answer:
    return _Answer(response.status, await response.read(), response.headers.get("Audit-Id", ""))


def _error(method: str, path: str, answer: _Answer) -> ClientError:
    try:
        said = json.loads(answer.body)
        reason, message = str(said.get("reason", "")), str(said.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", ""
    if answer.status == 404 and not message:  # what exists not in a resource that does is told as a Status
        message = f"the cluster does not know {GROUP}: install the operator (docs/install.md), or name another context"
        return NotInstalled(message, request_id=answer.request_id)
    message = message or f"{method} {path}: the API server answered {answer.status}"
    return _kind(answer.status, reason)(message, code=reason, request_id=answer.request_id)


def _kind(status: int, reason: str) -> type[ClientError]:
    if status == 409 and reason == "AlreadyExists":
        return AlreadyExists
    if status in (400, 413, 422):
        return InvalidExecution
    kinds: Mapping[int, type[ClientError]] = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone}
    if status in kinds:
        return kinds[status]
    return Unavailable if status == 429 or status >= 500 else ClientError
