"""Who may read, who is refused and in which words, and that nobody speaks for another."""

from collections.abc import Mapping

import aiohttp
import pytest

from tests.fakes.output import Output, OutputExecutor
from tests.integration.controller.cluster import NAMESPACE
from tests.integration.log_api.parts import OTHER, OWN, TENANT_USER, Aggregated, Object, log_path

ID = "exec_20260115_a1b2c3d4"
_TENANT: Mapping[str, str] = {"X-Remote-User": TENANT_USER}
_ADMIN: Mapping[str, str] = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}


async def test_another_namespace_is_forbidden_live_and_finished_alike(
    cluster: Aggregated, executor: OutputExecutor
) -> None:
    output = executor.outputs[ID] = Output(owner=await cluster.run("theirs", ID, namespace=OTHER))
    output.write("stdout", b"secret\n")
    for phase in ("Running", "Succeeded"):
        await cluster.set_status("theirs", OTHER, phase=phase, stdout="secret\n")
        refused = await cluster.refusal(log_path("theirs", OTHER))
        assert (refused["code"], refused["reason"]) == (403, "Forbidden")
        assert 'cannot get resource "executions/log"' in refused["message"]
        assert OTHER in refused["message"]
        # The API server's own check does not come before this one.
        directly = await _directly(cluster, log_path("theirs", OTHER), _TENANT)
        assert directly["message"] == refused["message"]
        assert directly["details"] == {
            "name": "theirs",
            "group": "subresources.sandbox-executor.dev",
            "kind": "executions",
        }


async def test_one_that_is_not_there_is_told_only_to_who_may_look(cluster: Aggregated) -> None:
    assert (await cluster.refusal(log_path("nothing", OTHER)))["reason"] == "Forbidden"
    missing = await cluster.refusal(log_path("nothing"))
    assert (missing["code"], missing["reason"], missing["details"]["name"]) == (404, "NotFound", "nothing")


async def _directly(cluster: Aggregated, path: str, headers: Mapping[str, str]) -> Object:
    async with cluster.ask_directly(path, cluster.front_proxy, headers) as answer:
        found: Object = await answer.json()
        assert answer.status == found["code"]
        return found


@pytest.mark.parametrize("path", [log_path("any"), "/apis", "/openapi/v2"])
async def test_without_the_api_servers_certificate_no_header_counts(cluster: Aggregated, path: str) -> None:
    for certificate in (None, cluster.wrong_name):
        for headers in ({}, _ADMIN):
            async with cluster.ask_directly(path, certificate, headers) as answer:
                assert (answer.status, (await answer.json())["reason"]) == (401, "Unauthorized")


async def test_a_certificate_of_another_authority_ends_the_handshake(cluster: Aggregated) -> None:
    with pytest.raises(aiohttp.ClientError):
        async with cluster.ask_directly("/healthz", cluster.stranger, _ADMIN):
            pass
    async with cluster.ask_directly("/healthz", None, {}) as answer:
        assert answer.status == 200, "probes show none"


async def test_the_api_server_must_say_for_whom(cluster: Aggregated) -> None:
    refused = await _directly(cluster, log_path("any"), {})
    assert (refused["code"], refused["reason"]) == (401, "Unauthorized")


async def test_what_a_user_adds_to_a_request_does_not_change_who_it_is(cluster: Aggregated) -> None:
    """The API server takes such headers away before it sends its own."""
    headers = {"Authorization": f"Bearer {cluster.server.users[TENANT_USER]}", **_ADMIN}
    async with (
        aiohttp.ClientSession() as session,
        session.get(cluster.server.url + log_path("any", OTHER), headers=headers, ssl=False) as answer,
    ):
        assert answer.status == 403
        assert 'User "tenant"' in (await answer.json())["message"]


async def test_one_that_took_anothers_id_sees_nothing_of_it(cluster: Aggregated, executor: OutputExecutor) -> None:
    """Ids are chosen by users; the executor knows whose run it holds."""
    output = executor.outputs[ID] = Output(owner="the-first-ones-uid")
    output.write("stdout", b"secret\n")
    output.end()
    await cluster.run("thief", ID)
    assert await cluster.text(log_path("thief")) == ""
    await cluster.set_status("thief", phase="Rejected")
    assert await cluster.text(log_path("thief", follow="true")) == ""
    assert output.asked == []


async def test_a_pod_that_is_no_executor_is_not_asked(cluster: Aggregated, executor: OutputExecutor) -> None:
    """The token for executors goes to nobody else in the namespace."""
    output = executor.outputs[ID] = Output()
    output.write("stdout", b"never\n")
    await cluster.add_pod("stranger", executor.port, labels={"app.kubernetes.io/component": "database"})
    await cluster.run("led-astray", ID, pod="stranger")
    assert await cluster.text(log_path("led-astray")) == ""
    assert output.asked == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"stream": "both"}, "write stdout, stderr or all"),
        ({"follow": "maybe"}, "write true or false"),
        ({"tailLines": "5"}, "pipe the answer through"),
        ({"stdoutOffset": "-1"}, "write a whole number"),
        ({"folow": "true"}, "is not known; there are follow,"),
    ],
)
async def test_a_wrong_parameter_is_named(cluster: Aggregated, query: dict[str, str], words: str) -> None:
    refused = await cluster.refusal(log_path("any", **query))
    assert (refused["code"], refused["reason"]) == (400, "BadRequest")
    assert words in refused["message"]


async def test_too_many_at_a_time_are_refused(cluster: Aggregated) -> None:
    await cluster.create("watched")
    async with _many(cluster, 8):
        refused = await cluster.refusal(log_path("watched", follow="true"))
    assert (refused["code"], refused["reason"]) == (429, "TooManyRequests")
    assert "user 'tenant'" in refused["message"]


def _many(cluster: Aggregated, number: int) -> "_Many":
    return _Many(cluster, number)


class _Many:
    """So many followers, all of them answered."""

    def __init__(self, cluster: Aggregated, number: int) -> None:
        self._asked = [cluster.ask(log_path("watched", follow="true")) for _ in range(number)]

    async def __aenter__(self) -> None:
        for asked in self._asked:
            assert (await asked.__aenter__()).status == 200

    async def __aexit__(self, *_: object) -> None:
        for asked in self._asked:
            await asked.__aexit__(None, None, None)


async def test_an_executor_that_does_not_answer_is_said(cluster: Aggregated, executor: OutputExecutor) -> None:
    await cluster.run("unreachable", ID, pod="pod-9")
    await cluster.add_pod("pod-9", 1)  # nobody listens there
    refused = await cluster.refusal(log_path("unreachable"))
    assert (refused["code"], refused["reason"]) == (503, "ServiceUnavailable")
    assert "pod-9" in refused["message"]
    assert cluster.log_api.token not in cluster.log_api.log
    assert NAMESPACE not in refused["message"]
    assert OWN in cluster.log_api.log
