"""The API server, over one shared connection pool of the official asynchronous client.

Requests are made by hand instead of through the generated classes: on the hot path the
answer is asked for as ``PartialObjectMetadata``, so that a megabyte of code does not travel
back with each status, and nothing is parsed into models that nobody reads.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from controller import names
from controller.clients.redirects import refuse_redirects
from controller.errors import KubeConflict, KubeError, KubeNotFound, KubeTooLarge, KubeUnavailable, SettingsError

Body = dict[str, Any]

_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_JSON: Final = "application/json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_APPLY_PATCH: Final = "application/apply-patch+yaml"
_TABLE: Final = "application/json;as=Table;g=meta.k8s.io;v=v1"
_PAGE_SIZE: Final = 100
"""An Execution may hold a megabyte: a page must not keep the loop from renewing the Lease while it is parsed."""
_READY: Final = "/readyz"
"""Every user that has shown who it is may read it, by the ClusterRole ``system:public-info-viewer``."""
_REQUEST_TIMEOUT_S: Final = 30.0
_MAX_EVENT_BYTES: Final = 16 * 1_048_576
"""The API server keeps no object larger than etcd's request limit, by default 1.5 MiB."""
REQUESTS_AT_A_TIME: Final = 32
"""The others wait here, where neither their timeout runs nor the fence has been passed: a thousand Executions that find
free slots at once must not keep the API server from the Lease, nor be written long after the look at it."""
_TOO_LARGE: Final = ("request is too large", "trying to send message larger than max")
"""etcd's words, and its client's for what is more than two of its messages; the API server gives both as a 500."""


async def load_configuration() -> Configuration:
    """How to reach the API server: in a cluster the ServiceAccount, elsewhere what KUBECONFIG names.

    Raises:
        SettingsError: there is neither.
    """
    configuration = Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise SettingsError(
            f"no API server: {error}; run in a cluster, or set KUBECONFIG=/path/to/kubeconfig"
        ) from None
    return configuration


@dataclass(frozen=True, slots=True)
class Row:
    """An object as ``kubectl get -o wide`` shows it: what names it, and its columns by their titles."""

    namespace: str
    name: str
    uid: str
    cells: Mapping[str, Any]


class KubeClient:
    """The few calls of the Kubernetes API that the controller makes.

    ``fence`` is called right before each write; it raises, or ends the process, where this one does not lead.
    """

    def __init__(self, configuration: Configuration, fence: Callable[[], object] = lambda: None) -> None:
        self.configuration = configuration
        self._fence = fence
        self._at_a_time = asyncio.Semaphore(REQUESTS_AT_A_TIME)
        self._writes = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        configuration.client_session_kwargs = {"trust_env": False, "middlewares": (refuse_redirects,)}
        self._api = ApiClient(configuration)

    async def close(self) -> None:
        """Closes the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def wait_quiet(self) -> None:
        """Returns when no write is under way."""
        await self._quiet.wait()

    async def get(self, path: str) -> Body:
        """One object.

        Raises:
            KubeError: as for every call here; KubeNotFound when it is not there.
        """
        return await self._request("GET", path)

    async def list_pages(self, path: str, **params: str) -> AsyncIterator[list[Body]]:
        """The objects of a collection, page by page; ``fieldSelector`` and ``labelSelector`` go by keyword."""
        query = {**params, "limit": str(_PAGE_SIZE)}
        while True:
            page = await self._request("GET", path, query=query)
            yield page.get("items") or []
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def list_rows(self, path: str) -> AsyncIterator[list[Row]]:
        """The objects of a collection as rows of a table, page by page: a fraction of their size.

        Raises:
            KubeError: as for every call here.
        """
        query = {"limit": str(_PAGE_SIZE), "includeObject": "Metadata"}
        titles: list[str] = []
        while True:
            page = await self._request("GET", path, query=query, accept=_TABLE)
            titles = [column["name"] for column in page.get("columnDefinitions") or ()] or titles
            yield [_row(row, titles) for row in page.get("rows") or ()]
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def replace_status(self, path: str, body: Body) -> str:
        """Writes ``.status`` of the object whose ``metadata.resourceVersion`` the body names.

        Returns:
            The new resourceVersion.

        Raises:
            KubeConflict: the object has changed since.
        """
        answer = await self._request("PUT", f"{path}/status", body, accept=_METADATA_ONLY)
        return str(answer["metadata"]["resourceVersion"])

    async def merge_status(self, path: str, status: Mapping[str, Any], resource_version: str) -> str:
        """Merges into ``.status`` of the object whose version this is.

        Returns:
            The new resourceVersion.

        Raises:
            KubeConflict: the object has changed since.
        """
        body = {"metadata": {"resourceVersion": resource_version}, "status": dict(status)}
        answer = await self._request("PATCH", f"{path}/status", body, content_type=_MERGE_PATCH, accept=_METADATA_ONLY)
        return str(answer["metadata"]["resourceVersion"])

    async def replace(self, path: str, body: Body) -> Body:
        """Replaces an object under the ``metadata.resourceVersion`` in the body; returns it as it is then.

        Raises:
            KubeConflict: the object has changed since.
        """
        return await self._request("PUT", path, body)

    async def apply(self, path: str, body: Body) -> Body:
        """Server-side apply: creates the object, or makes the fields that it names ours."""
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        return await self._request("PATCH", path, body, content_type=_APPLY_PATCH, query=query)

    async def create(self, path: str, body: Body) -> None:
        """Creates an object in a collection."""
        await self._request("POST", path, body, accept=_METADATA_ONLY)

    async def ask(self, path: str, body: Body) -> Body:
        """Posts a question that is kept nowhere, such as a SubjectAccessReview; returns it with its answer."""
        return await self._request("POST", path, body)

    async def watch(
        self, path: str, resource_version: str, timeout_s: int, **params: str
    ) -> AsyncGenerator[Body, None]:
        """The events of one watch request, which the API server ends after ``timeout_s``; bookmarks are left out.

        Raises:
            KubeError: it is refused, too old (410), or breaks off (KubeUnavailable).
        """
        query = {**params, "watch": "true", "resourceVersion": resource_version, "timeoutSeconds": str(timeout_s)}
        target = f"{path}?{urlencode(query)}"
        try:
            wrapped = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                "GET",
                self.configuration.host + target,
                headers=await self._headers(_JSON, _JSON),
                _request_timeout=timeout_s + _REQUEST_TIMEOUT_S,
            )
            response: aiohttp.ClientResponse = wrapped.response
            try:
                if response.status >= 400:
                    raise _error(response.status, await response.read())
                async for event in _events(response):
                    if event["type"] == "ERROR":
                        raise _error(int(event["object"].get("code", 500)), json.dumps(event["object"]).encode())
                    if event["type"] != "BOOKMARK":
                        yield event
            finally:
                response.close()
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise KubeUnavailable(0, type(error).__name__, f"GET {path}: the watch broke off") from error

    async def delete(self, path: str, uid: str) -> None:
        """Deletes the object if it still is the one with this uid (KubeConflict otherwise)."""
        await self._request("DELETE", path, {"preconditions": {"uid": uid}})

    async def _request(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> Body:
        if method == "GET":
            return await self._send(method, path, body, query=query, content_type=content_type, accept=accept)
        self._writes += 1
        self._quiet.clear()
        try:
            return await self._send(method, path, body, query=query, content_type=content_type, accept=accept)
        finally:
            self._writes -= 1
            if self._writes == 0:
                self._quiet.set()

    async def _send(
        self,
        method: str,
        path: str,
        body: Body | None,
        *,
        query: Mapping[str, str] | None,
        content_type: str,
        accept: str,
    ) -> Body:
        headers = await self._headers(accept, content_type)
        target = path + (f"?{urlencode(query)}" if query else "")
        status, raw = await self._exchange(method, target, headers, body)
        if status == 403:
            # One that has just started refuses everything until it has read who may do what: that is no verdict.
            if (await self._exchange("GET", _READY, headers, None))[0] != 200:
                raise KubeUnavailable(status, "Starting", f"{method} {path}: the API server is not ready, and refuses")
            status, raw = await self._exchange(method, target, headers, body)
        if status >= 400:
            raise _error(status, raw)
        parsed: Body = json.loads(raw) if raw else {}
        return parsed

    async def _headers(self, accept: str, content_type: str) -> dict[str, str]:
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": names.COMPONENT_NAME}
        token = await self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        return headers

    async def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: Body | None
    ) -> tuple[int, bytes]:
        url = self.configuration.host + target
        async with self._at_a_time:
            if method != "GET":
                self._fence()
            try:
                response = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                    method, url, headers=headers, body=body, _request_timeout=_REQUEST_TIMEOUT_S
                )
                return response.status, await response.read()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                problem = f"{method} {target}: no answer from the API server"
                raise KubeUnavailable(0, type(error).__name__, problem) from error


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Body]:
    """Whole lines of any length up to a bound; aiohttp's own ``readline`` gives up at its buffer's size."""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        rest += chunk
        *whole, last = rest.split(b"\n")
        for line in whole:
            if line.strip():
                yield json.loads(line)
        rest = bytearray(last)
        if len(rest) > _MAX_EVENT_BYTES:
            raise ValueError("a watch event is too large")


def _row(row: Mapping[str, Any], titles: list[str]) -> Row:
    metadata = row["object"]["metadata"]
    cells = dict(zip(titles, row["cells"], strict=False))
    return Row(metadata.get("namespace", ""), metadata["name"], metadata["uid"], cells)


def _error(status: int, raw: bytes) -> KubeError:
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = {}
    answer = answer if isinstance(answer, dict) else {}
    kind: type[KubeError] = KubeError
    if status == 413 or any(words in str(answer.get("message", "")) for words in _TOO_LARGE):
        kind = KubeTooLarge
    elif status == 404:
        kind = KubeNotFound
    elif status == 409:
        kind = KubeConflict
    elif status in (401, 429) or status >= 500:
        kind = KubeUnavailable
    return kind(status, str(answer.get("reason", "")), str(answer.get("message", "")))
