"""Handshakes in memory, with real certificates."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from controller.errors import KubeUnavailable
from log_api.errors import TrustError
from log_api.identity import identify
from log_api.trust import Trust
from tests.certificates import CLIENT, SERVER, Pair, make_authority, sign


class _Kube:
    """The one ConfigMap."""

    def __init__(self, authority: Pair) -> None:
        self.data = {"requestheader-client-ca-file": authority.certificate.read_text()}
        self.broken = False

    async def get(self, path: str) -> dict[str, Any]:
        assert path.endswith("/kube-system/configmaps/extension-apiserver-authentication")
        if self.broken:
            raise KubeUnavailable(0, "", "no answer")
        return {"data": dict(self.data)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def old(folder: Path) -> Pair:
    return make_authority(folder, "old-ca")


@pytest.fixture(scope="module")
def new(folder: Path) -> Pair:
    return make_authority(folder, "new-ca")


@pytest.fixture(scope="module")
def serving(old: Pair) -> Pair:
    return sign(old, "log-api", SERVER, "subjectAltName=DNS:log-api")


def _trust(kube: _Kube, serving: Pair) -> Trust:
    return Trust(kube, serving.certificate, serving.key)  # type: ignore[arg-type]


def _shake_hands(listening: ssl.SSLContext, client: Pair | None) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """(the server's side, the client's)."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = context.wrap_bio(here, there, server_hostname="log-api")
    answering = listening.wrap_bio(there, here, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for side in (asking, answering):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
    assert len(done) == 2
    return answering, asking


async def test_a_certificate_of_the_ca_counts_and_none_is_none(old: Pair, serving: Pair) -> None:
    trust = _trust(_Kube(old), serving)
    await trust.load()
    proxy = sign(old, "front-proxy-client", CLIENT)
    answering, _ = _shake_hands(trust.listen(), proxy)
    believed = trust.believes(answering)
    assert believed is not None
    assert identify(believed, answering.getpeercert(), [("X-Remote-User", "ada")]).name == "ada"
    anonymous, _ = _shake_hands(trust.listen(), None)
    assert not anonymous.getpeercert()


async def test_one_of_another_ca_or_for_servers_ends_the_handshake(old: Pair, new: Pair, serving: Pair) -> None:
    trust = _trust(_Kube(old), serving)
    await trust.load()
    for wrong in (sign(new, "front-proxy-client", CLIENT), serving):
        with pytest.raises(ssl.SSLError):
            _shake_hands(trust.listen(), wrong)


async def test_a_new_ca_takes_the_place_of_the_old_one(old: Pair, new: Pair, serving: Pair) -> None:
    kube = _Kube(old)
    trust = _trust(kube, serving)
    await trust.load()
    listening = trust.listen()
    before, _ = _shake_hands(listening, sign(old, "front-proxy-client", CLIENT))
    kube.data["requestheader-client-ca-file"] = new.certificate.read_text()
    await trust.load()
    after, _ = _shake_hands(listening, sign(new, "front-proxy-client", CLIENT))
    assert trust.believes(after) is not None
    assert trust.believes(before) is None
    with pytest.raises(ssl.SSLError):
        _shake_hands(listening, sign(old, "front-proxy-client", CLIENT))


async def test_a_new_serving_certificate_is_shown(old: Pair, serving: Pair, tmp_path: Path) -> None:
    mine = Pair(tmp_path / "tls.crt", tmp_path / "tls.key")
    _copy(serving, mine)
    trust = _trust(_Kube(old), mine)
    await trust.load()
    listening = trust.listen()
    before, first = _shake_hands(listening, None)
    _copy(sign(old, "renewed", SERVER), mine)
    await trust.load()
    _, second = _shake_hands(listening, None)
    assert first.getpeercert(binary_form=True) != second.getpeercert(binary_form=True)
    assert trust.believes(before) is not None, "the front proxy is the same"


def _copy(source: Pair, target: Pair) -> None:
    target.certificate.write_bytes(source.certificate.read_bytes())
    target.key.write_bytes(source.key.read_bytes())


async def test_what_cannot_be_used_changes_nothing(old: Pair, serving: Pair, tmp_path: Path) -> None:
    kube = _Kube(old)
    trust = _trust(kube, serving)
    await trust.load()
    listening = trust.listen()
    for broken, data in ((True, {}), (False, {}), (False, {"requestheader-client-ca-file": "no PEM"})):
        kube.broken, kube.data = broken, data
        with pytest.raises(TrustError):
            await trust.load()
        answering, _ = _shake_hands(listening, sign(old, "front-proxy-client", CLIENT))
        assert trust.believes(answering) is not None
    missing = Pair(tmp_path / "nothing", tmp_path / "nothing")
    with pytest.raises(TrustError, match="certificates cannot be used"):
        await _trust(_Kube(old), missing).load()


async def test_no_session_is_resumed(old: Pair, serving: Pair) -> None:
    trust = _trust(_Kube(old), serving)
    await trust.load()
    _, asking = _shake_hands(trust.listen(), None)
    assert asking.session is None or not asking.session.has_ticket


def test_a_connection_without_tls_is_not_believed(old: Pair, serving: Pair) -> None:
    assert _trust(_Kube(old), serving).believes(None) is None
