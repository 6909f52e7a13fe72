"""Runs kopf inside our own event loop: one operator for what is cluster-wide, one for our namespace.

kopf gives an operator one scope for all of its kinds; with a single cluster-wide one the
controller would need to read every pod of the cluster. Why so: ``docs/decisions/0005-controller.md``.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import kopf
from kubernetes.aio.client import Configuration

from controller.clients.redirects import refuse_redirects
from controller.handlers import Targets, register_cluster_handlers, register_namespace_handlers, set_selectors


class Watches:
    """The two kopf operators, started and stopped together."""

    def __init__(self, configuration: Configuration, targets: Targets, namespace: str) -> None:
        self._configuration = configuration
        self._targets = targets
        self._namespace = namespace
        self._stop = asyncio.Event()
        self._ready = (asyncio.Event(), asyncio.Event())

    def stop(self) -> None:
        """Tells both operators to end."""
        self._stop.set()

    async def wait_started(self) -> None:
        """Returns once both run (and have taken the process's signals for themselves)."""
        for ready in self._ready:
            await ready.wait()

    async def run(self) -> None:
        """Runs both until ``stop``; when one ends by itself, so does the other."""
        cluster, namespaced = kopf.OperatorRegistry(), kopf.OperatorRegistry()
        register_cluster_handlers(cluster, self._targets)
        register_namespace_handlers(namespaced, self._targets)
        operators = [
            self._operator(cluster, self._ready[0], clusterwide=True),
            self._operator(namespaced, self._ready[1], namespaces=[self._namespace]),
        ]
        tasks = [asyncio.ensure_future(operator) for operator in operators]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop.set()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _operator(
        self, registry: kopf.OperatorRegistry, ready: asyncio.Event, **scope: Any
    ) -> Coroutine[Any, Any, None]:
        kopf.on.login(registry=registry)(self._login)
        return kopf.operator(
            registry=registry,
            settings=make_settings(),
            standalone=True,
            stop_flag=self._stop,
            ready_flag=ready,
            **scope,
        )

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        """kopf's session, from the same configuration as ours; asked for again when its token is refused."""
        return await open_session(self._configuration)


@dataclass(frozen=True, kw_only=True)
class _Session(kopf.AiohttpSession):
    """Equal to another with the same token: kopf gives up when it is handed again what was refused before."""

    aiohttp_session: aiohttp.ClientSession = field(compare=False)
    token: str | None = field(repr=False)


async def open_session(configuration: Configuration) -> kopf.AiohttpSession:
    """A session of kopf's that follows no redirect and takes no proxy from the environment; kopf closes it."""
    authorization = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or ""
    info = kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert or None,
        insecure=not configuration.verify_ssl,
        token=authorization.partition(" ")[2] or None,
        certificate_path=configuration.cert_file or None,
        private_key_path=configuration.key_file or None,
    )
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        trust_env=False,
        middlewares=(refuse_redirects,),
    )
    return _Session(server=info.server, aiohttp_session=session, token=info.token)


class NoDiffs(kopf.DiffBaseStorage):
    """Keeps kopf from comparing objects with what they were: none of our handlers asks for it.

    For the comparison it copies each object that an event brings, code and all, which took a third of an event's time.
    """

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        """Nothing of the object."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Nothing was ever kept."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is."""


def make_settings() -> kopf.OperatorSettings:
    """Neither Events of kopf's own, nor a look for kinds that come later; what is watched is in ``handlers``."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = NoDiffs()
    settings.process.ultimate_exiting_timeout = None
    set_selectors(settings)
    return settings
