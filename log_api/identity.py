"""Who asks: the names that the API server puts into headers, believed only behind its certificate.

https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/#kubernetes-apiserver-request-authentication
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from log_api.errors import TrustError, unauthorized

Certificate = Mapping[str, Any]
"""As ``ssl.SSLSocket.getpeercert`` gives it: of a peer whose chain was verified, else empty."""
_MAX_VALUES: Final = 1000


@dataclass(frozen=True)
class User:
    """A user as the API server has authenticated it."""

    name: str
    uid: str
    groups: tuple[str, ...]
    extra: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class FrontProxy:
    """Whom the API server's ConfigMap says to believe, and in which headers the user stands."""

    client_ca: str
    """PEM."""
    allowed_names: tuple[str, ...]
    """Common names of the certificate; empty: any that the CA has signed."""
    username_headers: tuple[str, ...]
    uid_headers: tuple[str, ...]
    group_headers: tuple[str, ...]
    extra_prefixes: tuple[str, ...]


def read_front_proxy(data: Mapping[str, str]) -> FrontProxy:
    """The ConfigMap ``kube-system/extension-apiserver-authentication``.

    Raises:
        TrustError: aggregation is not set up in this API server, or in a way in which users could name themselves.
    """
    client_ca = data.get("requestheader-client-ca-file", "").strip()
    if not client_ca:
        raise TrustError(
            "the API server has no aggregation layer: start it with --requestheader-client-ca-file and its companions"
        )
    found = FrontProxy(
        client_ca=client_ca,
        allowed_names=_names(data, "requestheader-allowed-names"),
        username_headers=_names(data, "requestheader-username-headers") or ("X-Remote-User",),
        uid_headers=_names(data, "requestheader-uid-headers") or ("X-Remote-Uid",),
        group_headers=_names(data, "requestheader-group-headers") or ("X-Remote-Group",),
        extra_prefixes=_names(data, "requestheader-extra-headers-prefix") or ("X-Remote-Extra-",),
    )
    if not found.allowed_names and client_ca == data.get("client-ca-file", "").strip():
        raise TrustError(
            "the CA of users' certificates is the front proxy's too, and no name is set apart: any user could speak "
            "for any other; set --requestheader-allowed-names, or a CA of its own, at the API server"
        )
    return found


def _names(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    try:
        names = json.loads(data.get(key) or "[]")
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise TrustError(f"{key} in the API server's ConfigMap is not a list of names")
    return tuple(names)


def identify(proxy: FrontProxy, certificate: Certificate | None, headers: Iterable[tuple[str, str]]) -> User:
    """For whom the API server asks.

    Raises:
        StatusError: 401; it is not the API server that asks, or it names nobody.
    """
    if not certificate:
        raise unauthorized("no client certificate of the API server was shown")
    common_names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    if proxy.allowed_names and not set(common_names) & set(proxy.allowed_names):
        raise unauthorized("the client certificate is not one that may speak for users")
    given = [(name.lower(), value) for name, value in headers]
    name = next(iter(_values(given, proxy.username_headers)), "")
    if not name:
        raise unauthorized("no user was named")
    return User(
        name=name,
        uid=next(iter(_values(given, proxy.uid_headers)), ""),
        groups=tuple(_values(given, proxy.group_headers)[:_MAX_VALUES]),
        extra=_extra(given, proxy.extra_prefixes),
    )


def _values(given: list[tuple[str, str]], headers: tuple[str, ...]) -> list[str]:
    """The values of the first of these headers that is there."""
    for header in headers:
        if found := [value for name, value in given if name == header.lower() and value]:
            return found
    return []


def _extra(given: list[tuple[str, str]], prefixes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, value in given[:_MAX_VALUES]:
        for prefix in prefixes:
            if name.startswith(prefix.lower()):
                found.setdefault(unquote(name[len(prefix) :]), []).append(value)
    return {key: tuple(values) for key, values in found.items()}
