"""The TLS side: our certificate, and the CA behind which alone the API server speaks for users.

Both change while the process runs: the CA when the cluster's certificates are renewed, ours when its Secret is. Each
handshake gets the newest, and a connection that was made under an older CA counts no more.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Final

from controller.clients.kube import KubeClient
from controller.errors import KubeError
from controller.logs import get_logger
from log_api.errors import TrustError
from log_api.identity import FrontProxy, read_front_proxy

_CONFIG_MAP: Final = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
_LOOK_AGAIN_S: Final = 15.0
logger = get_logger(__name__)


class Context(ssl.SSLContext):
    """A context that knows whom it lets speak for users."""

    proxy: FrontProxy


class Trust:
    """The newest TLS context, and the front proxy that it verifies."""

    def __init__(self, kube: KubeClient, certificate: Path, key: Path, look_again_s: float = _LOOK_AGAIN_S) -> None:
        self._kube = kube
        self._certificate, self._key = certificate, key
        self._look_again_s = look_again_s
        self._seen: tuple[FrontProxy, bytes, bytes] | None = None
        self._current: Context | None = None

    async def load(self) -> None:
        """Reads both, and makes a new context where one of them has changed.

        Raises:
            TrustError: one of them cannot be used; what was there before stays.
        """
        try:
            found = await self._kube.get(_CONFIG_MAP)
        except KubeError as error:
            raise TrustError(f"cannot read {_CONFIG_MAP.rpartition('/')[2]}: {error}") from error
        proxy = read_front_proxy(found.get("data") or {})
        try:
            seen = (proxy, self._certificate.read_bytes(), self._key.read_bytes())
            if seen != self._seen:
                self._current = self._build(proxy)
                self._seen = seen
                logger.info("the certificates are read", allowed_names=list(proxy.allowed_names))
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise TrustError(f"the certificates cannot be used: {error}") from error

    async def run(self) -> None:
        """Looks again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._look_again_s)
            try:
                await self.load()
            except TrustError as error:
                logger.warning("goes on with the certificates that it has", error=str(error))

    def listen(self) -> ssl.SSLContext:
        """The context to listen with: each handshake goes on with the newest one."""
        current = self._current
        if current is None:
            raise TrustError("nothing has been loaded")
        listening = self._build(current.proxy)
        listening.sni_callback = self._switch
        return listening

    def believes(self, connection: object) -> FrontProxy | None:
        """Whom to believe on a connection (its ``ssl.SSLObject``); None when that has changed since it was made."""
        made = connection.context if isinstance(connection, ssl.SSLObject) else None
        current = self._current
        if current is None or not isinstance(made, Context) or made.proxy != current.proxy:
            return None
        return current.proxy

    def _switch(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._current is not None:
            connection.context = self._current

    def _build(self, proxy: FrontProxy) -> Context:
        context = Context(ssl.PROTOCOL_TLS_SERVER)
        context.proxy = proxy
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Probes come without one. A certificate that is shown and not signed by this CA ends the handshake.
        context.verify_mode = ssl.CERT_OPTIONAL
        # A session that is resumed would carry a certificate that was verified under an older CA.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.load_cert_chain(self._certificate, self._key)
        context.load_verify_locations(cadata=proxy.client_ca)
        return context
