import json
from typing import Any

import pytest

from log_api.errors import StatusError, TrustError
from log_api.identity import FrontProxy, User, identify, read_front_proxy

_DATA = {
    "requestheader-client-ca-file": "PROXY CA",
    "client-ca-file": "USERS' CA",
    "requestheader-allowed-names": '["front-proxy-client"]',
    "requestheader-username-headers": '["X-Remote-User"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
}
_CERTIFICATE = {"subject": ((("organizationName", "o"),), (("commonName", "front-proxy-client"),))}


def _proxy(**changes: str) -> FrontProxy:
    return read_front_proxy({**_DATA, **changes})


def test_a_user_with_groups_uid_and_extra() -> None:
    headers = [
        ("x-remote-user", "ada"),
        ("X-Remote-Group", "devs"),
        ("X-Remote-Group", "system:authenticated"),
        ("X-Remote-Uid", "u-1"),
        ("X-Remote-Extra-Scopes", "a"),
        ("X-Remote-Extra-Scopes", "b"),
        ("X-Remote-Extra-Example.com%2fnode", "n"),
        ("Accept", "*/*"),
    ]
    assert identify(_proxy(), _CERTIFICATE, headers) == User(
        "ada", "u-1", ("devs", "system:authenticated"), {"scopes": ("a", "b"), "example.com/node": ("n",)}
    )


def test_the_header_names_are_those_of_the_config_map() -> None:
    proxy = _proxy(**{"requestheader-username-headers": '["X-First", "X-Second"]'})
    assert identify(proxy, _CERTIFICATE, [("X-Second", "bob")]).name == "bob"
    with pytest.raises(StatusError, match="no user was named"):
        identify(proxy, _CERTIFICATE, [("X-Remote-User", "ada")])


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (None, "no client certificate"),
        ({}, "no client certificate"),
        ({"subject": ((("commonName", "other"),),)}, "may not|not one that may"),
        ({"subject": ((("organizationName", "front-proxy-client"),),)}, "not one that may"),
    ],
)
def test_without_the_right_certificate_headers_do_not_count(certificate: Any, why: str) -> None:
    with pytest.raises(StatusError, match=why) as refused:
        identify(_proxy(), certificate, [("X-Remote-User", "system:admin")])
    assert refused.value.code == 401


def test_any_name_counts_where_the_api_server_names_none() -> None:
    proxy = _proxy(**{"requestheader-allowed-names": "[]"})
    assert identify(proxy, {"subject": ((("commonName", "other"),),)}, [("X-Remote-User", "ada")]).name == "ada"


def test_a_ca_that_users_have_too_needs_a_name() -> None:
    shared = {"client-ca-file": "PROXY CA"}
    assert _proxy(**shared).allowed_names == ("front-proxy-client",)
    with pytest.raises(TrustError, match="any user could speak"):
        _proxy(**shared, **{"requestheader-allowed-names": "[]"})


def test_an_api_server_without_aggregation_is_said() -> None:
    with pytest.raises(TrustError, match="--requestheader-client-ca-file"):
        read_front_proxy({"client-ca-file": "USERS' CA"})


@pytest.mark.parametrize("value", ["{", '"name"', "[1]", '[""]', json.dumps({"a": 1})])
def test_a_list_that_is_none_is_said(value: str) -> None:
    with pytest.raises(TrustError, match="requestheader-allowed-names"):
        _proxy(**{"requestheader-allowed-names": value})
